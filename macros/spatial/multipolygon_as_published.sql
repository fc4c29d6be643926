{#- A polygon or multipolygon as a MultiPolygon in EPSG:4326, the type of all geometry columns. -#}
{% macro multipolygon_as_published(column) -%}
    {{ geom_as_published('st_multi(' ~ column ~ ')') }}
{%- endmacro %}
