{#- A NULL of the type that all geometry columns have. -#}
{% macro no_geometry() -%}
    {{ return(adapter.dispatch('no_geometry')()) }}
{%- endmacro %}

{% macro default__no_geometry() -%}
    cast(null as geometry(multipolygon, 4326))
{%- endmacro %}

{% macro duckdb__no_geometry() -%}
    cast(null as geometry('EPSG:4326'))
{%- endmacro %}

{% macro spark__no_geometry() -%}
    cast(null as geometry)
{%- endmacro %}
