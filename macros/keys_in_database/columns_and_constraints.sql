{#- What stands in the brackets of `create table`, of a model's columns and constraints as its contract has them, or as an adapter's macro has changed them. -#}
{% macro columns_and_constraints(columns, constraints) -%}
    {%- set parts = adapter.render_raw_columns_constraints(raw_columns=columns) + adapter.render_raw_model_constraints(raw_constraints=constraints) -%}
    (
    {{ parts | join(',\n    ') }}
    )
{%- endmacro %}
