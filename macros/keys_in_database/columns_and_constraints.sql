{#-
  The part of `create table` in parentheses, from a model's columns and constraints: as the contract has them, or as
  an adapter's macro has changed them.
-#}
{% macro columns_and_constraints(columns, constraints) -%}
    {%- set column_parts = adapter.render_raw_columns_constraints(raw_columns=columns) -%}
    {%- set model_parts = adapter.render_raw_model_constraints(raw_constraints=constraints) -%}
    (
    {{ (column_parts + model_parts) | join(',\n    ') }}
    )
{%- endmacro %}
