{#-
  The level that the parent of a unit has, by its columns: one above its own; or where parents may lie further up, that
  of the closest ancestor that the row names.
-#}
{% macro level_of_parent(unit) -%}
    {%- if has_ragged_parents() -%}
    case
        {%- for level in admin_levels()[:-1] | reverse %}
        when {{ unit }}.source_gid_{{ level }} is not null then {{ level }}
        {%- endfor %}
        else {{ unit }}.admin_level - 1
    end
    {%- else -%}
    {{ unit }}.admin_level - 1
    {%- endif -%}
{%- endmacro %}

{#- Whether a parent may lie more than one level above its children: in Overture, a locality right under a region. -#}
{% macro has_ragged_parents() %}
    {{ return(levels_with('is_ragged') | length > 0) }}
{% endmacro %}
