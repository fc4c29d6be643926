{#-
  The marts that are made only where a variable says so, as a list of `schema.table`. dbt does not show them to macros
  where they are left out; but they are the project's, and one of the build before may not stand among those of this one.
-#}
{% macro optional_marts() %}
    {{ return([with_dataset('marts') ~ '.admin_unit_cells']) }}
{% endmacro %}
