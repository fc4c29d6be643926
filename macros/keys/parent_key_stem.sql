{#-
  The stem that a unit's own key gives for its parent, from the stem of the key: `GBR.1.6` gives `GBR.1`. NULL where the key has no parts (`?`). Only a hint: `BEN.9.6_1`
  belongs to `BEN.7_1`, so the parent column goes first.
-#}
{% macro parent_key_stem(stem) -%}
    case when {{ stem }} like '%.%' then regexp_replace({{ stem }}, '\.[^.]*$', '') end
{%- endmacro %}
