{#-
  Overrides dbt's macro for contracts on DuckDB in one respect: geometry is stored uncompressed. Coordinates barely
  shrink, and trying the compressors on them took longer than the rest of the build together. The profile sets
  `geometry_minimum_shredding_size` for the same reason; otherwise geometry would be split into columns of
  coordinates, and those compressed.
-#}
{% macro duckdb__get_table_columns_and_constraints() -%}
    {%- set columns = {} -%}
    {%- for name, column in model['columns'].items() -%}
        {%- set storage = ' using compression uncompressed' if name == 'geom' else '' -%}
        {%- do columns.update({name: dict(column, data_type=column['data_type'] ~ storage)}) -%}
    {%- endfor -%}
    {{- columns_and_constraints(columns, model['constraints']) }}
{%- endmacro %}
