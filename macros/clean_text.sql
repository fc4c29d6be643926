{#-
  Trimmed text; an empty string and `NA`, the publisher's word for missing, become NULL. Ingest cleans text the same
  way while loading; repeating it here covers rows that reached raw by another route.
-#}
{% macro clean_text(column) -%}
    nullif(nullif(trim({{ column }}), ''), 'NA')
{%- endmacro %}
