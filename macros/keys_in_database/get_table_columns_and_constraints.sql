{#-
  Overrides dbt's macro for contracts on PostgreSQL in two respects.

  The primary key is left out of `create table` and added by `add_primary_key` once the rows are in: sorting all keys
  once takes half as long as two million insertions into an index.

  Geometry is stored uncompressed, as in raw: compressing coordinates costs a third of the copy and gains little, and
  a bounding box can be read from an uncompressed value without fetching all of it. PostgreSQL 15 cannot say so within
  `create table`, so a statement follows it.
-#}
{% macro postgres__get_table_columns_and_constraints() -%}
    {%- set columns = {} -%}
    {%- for name, column in model['columns'].items() -%}
        {%- set others = column.get('constraints', []) | rejectattr('type', 'equalto', 'primary_key') | list -%}
        {%- do columns.update({name: dict(column, constraints=others)}) -%}
    {%- endfor -%}
    {%- set others = model.get('constraints', []) | rejectattr('type', 'equalto', 'primary_key') | list -%}
    {{- columns_and_constraints(columns, others) }}
    {%- if 'geom' in columns and config.get('materialized') == 'table' %};
    alter table {{ beside(this) }} alter column geom set storage external
    {%- endif %}
{%- endmacro %}

{#-
  The same on DuckDB in two respects. Geometry is stored uncompressed. Coordinates barely shrink, and trying the
  compressors on them took longer than the rest of the build together. The profile sets
  `geometry_minimum_shredding_size` for the same reason; otherwise geometry would be split into columns of
  coordinates, and those compressed. And a model whose `meta` says so has no primary key, see `has_key_in_database`.
-#}
{% macro duckdb__get_table_columns_and_constraints() -%}
    {%- set columns = {} -%}
    {%- for name, column in model['columns'].items() -%}
        {%- set storage = ' using compression uncompressed' if name == 'geom' else '' -%}
        {%- do columns.update({name: dict(column, data_type=column['data_type'] ~ storage)}) -%}
    {%- endfor -%}
    {%- set of_table = model.get('constraints', []) | list if has_key_in_database(model) else [] -%}
    {%- if model.resource_type == 'snapshot' -%}
        {%- do of_table.append({'type': 'primary_key', 'columns': declared_primary_key(model)}) -%}
    {%- endif -%}
    {{- columns_and_constraints(columns, of_table) }}
{%- endmacro %}

{#- The part of `create table` in parentheses, from a model's columns and constraints. -#}
{% macro columns_and_constraints(columns, constraints) -%}
    {%- set column_parts = adapter.render_raw_columns_constraints(raw_columns=columns) -%}
    {%- set model_parts = adapter.render_raw_model_constraints(raw_constraints=constraints) -%}
    (
    {{ (column_parts + model_parts) | join(',\n    ') }}
    )
{%- endmacro %}
