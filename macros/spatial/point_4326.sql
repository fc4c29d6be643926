{#- A point from a longitude and a latitude in degrees, to be compared with the geometry columns. -#}
{% macro point_4326(lon, lat) -%}
    {{ return(adapter.dispatch('point_4326')(lon, lat)) }}
{%- endmacro %}

{% macro default__point_4326(lon, lat) -%}
    st_setsrid(st_makepoint({{ lon }}, {{ lat }}), 4326)
{%- endmacro %}

{#- DuckDB compares geometry of any two types that do not name different systems. -#}
{% macro duckdb__point_4326(lon, lat) -%}
    st_point({{ lon }}, {{ lat }})
{%- endmacro %}

{#- Sedona's geometry names no system here, as its readers and writers of GeoParquet have it. -#}
{% macro spark__point_4326(lon, lat) -%}
    st_point({{ lon }}, {{ lat }})
{%- endmacro %}
