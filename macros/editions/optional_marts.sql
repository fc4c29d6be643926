{#-
  The marts that are made only where a variable says so, as a list of `schema.table`. Where they are left out, dbt does
  not show them to macros; but they are the project's, and none may be left of the build before.
-#}
{% macro optional_marts() %}
    {{ return([with_dataset('marts') ~ '.admin_unit_cells']) }}
{% endmacro %}

{#- Those of them that this build leaves out. -#}
{% macro marts_left_out() %}
    {{ return([] if var('unit_cells') else optional_marts()) }}
{% endmacro %}
