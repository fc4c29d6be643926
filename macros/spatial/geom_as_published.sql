{#-
  The geometry with its reference system in the column's type, no coordinate touched. PostGIS has it there already; DuckDB calls a GeoParquet file's system
  by the name that the writer gave it (`OGC:CRS84`, `EPSG:4326`, both longitude first here), so one name is set.
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
