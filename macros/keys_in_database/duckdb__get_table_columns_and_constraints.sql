{#-
  Overrides dbt's macro for contracts on DuckDB in one place: geometry is stored as it is. Coordinates barely shrink, and trying the compressors on them took longer than everything else together. The profile sets
  `geometry_minimum_shredding_size` for the same reason: else geometry would be taken apart into columns of x and y first, and those compressed.
-#}
{% macro duckdb__get_table_columns_and_constraints() -%}
    {%- set columns = {} -%}
    {%- for name, column in model['columns'].items() -%}
        {%- set storage = ' using compression uncompressed' if name == 'geom' else '' -%}
        {%- do columns.update({name: dict(column, data_type=column['data_type'] ~ storage)}) -%}
    {%- endfor -%}
    {{- columns_and_constraints(columns, model['constraints']) }}
{%- endmacro %}
