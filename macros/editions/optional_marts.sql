{#-
  The marts that are made only where a variable says so, as a list of `schema.table`. Where they are left out, dbt does
  not show them to macros; but they are the project's, and none may be left of the build before.
-#}
{% macro optional_marts() %}
    {{ return([with_dataset('marts') ~ '.admin_unit_cells']) }}
{% endmacro %}

{#-
  The marts that an earlier version made under names that no model has any more, likewise: what is left of them is of
  another run than the rest.
-#}
{% macro former_marts() %}
    {% set names = [] %}
    {% for name in ['admin_leaf_parts', 'timezone_parts', 'admin_level_counts', 'country_level_counts'] %}
        {% do names.append(with_dataset('marts') ~ '.' ~ name) %}
    {% endfor %}
    {{ return(names) }}
{% endmacro %}

{#- Those of both that this build leaves out. -#}
{% macro marts_left_out() %}
    {{ return(former_marts() + ([] if var('unit_cells') else optional_marts())) }}
{% endmacro %}
