{#-
  The stem of the parent's key, read from the stem of a unit's own key: GADM's `GBR.1.6` gives `GBR.1`. NULL where the
  key has no parts (`?`), and for other publishers. It is only a hint: `BEN.9.6_1` belongs to `BEN.7_1`, so the parent
  column takes precedence.
-#}
{% macro parent_key_stem(stem) -%}
    {%- if boundaries() == 'gadm' -%}
    case when {{ stem }} like '%.%' then regexp_replace({{ stem }}, '\.[^.]*$', '') end
    {%- else -%}
    cast(null as text)
    {%- endif -%}
{%- endmacro %}
