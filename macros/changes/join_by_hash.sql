{#-
  Pre-hook of a model that joins common table expressions of many rows: PostgreSQL has no statistics of these, takes
  them for small, and would go through all of one for each row of the other. DuckDB counts them.
-#}
{% macro join_by_hash() %}
    {{ return(adapter.dispatch('join_by_hash')()) }}
{% endmacro %}

{% macro default__join_by_hash() %}
{% endmacro %}

{% macro postgres__join_by_hash() %}
    select set_config('enable_nestloop', 'off', true)
{% endmacro %}
