{#-
  The geometry with its reference system in the column's type; coordinates stay as they are. PostGIS has the system
  already. DuckDB names it as the GeoParquet file's writer did (`OGC:CRS84` or `EPSG:4326`, both with longitude first
  here), so one name is set for all.
-#}
{% macro geom_as_published(column) -%}
    {{ return(adapter.dispatch('geom_as_published')(column)) }}
{%- endmacro %}

{% macro default__geom_as_published(column) -%}
    {{ column }}
{%- endmacro %}

{% macro duckdb__geom_as_published(column) -%}
    st_setcrs({{ column }}, 'EPSG:4326')
{%- endmacro %}
