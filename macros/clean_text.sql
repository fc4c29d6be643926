{#-
  Trimmed text; an empty string and the publisher's word for missing, `NA`, become NULL. Ingest cleans the same way while the bytes pass; here it
  also holds for rows that came into raw by another way.
-#}
{% macro clean_text(column) -%}
    nullif(nullif(trim({{ column }}), ''), 'NA')
{%- endmacro %}
