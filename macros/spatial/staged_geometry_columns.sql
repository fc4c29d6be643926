{#- The geometry of a raw table, and what ingest computed from it while loading. -#}
{% macro staged_geometry_columns() -%}
        ---------- numbers
        cast(vertex_count as bigint) as vertex_count,
        cast(area_km2 as double precision) as area_km2,
        cast(area_km2_in_source as double precision) as area_km2_in_source,
        cast(point_lon as double precision) as point_lon,
        cast(point_lat as double precision) as point_lat,
        cast(min_lon as double precision) as min_lon,
        cast(min_lat as double precision) as min_lat,
        cast(max_lon as double precision) as max_lon,
        cast(max_lat as double precision) as max_lat,
        cast(west_lon as double precision) as west_lon,
        cast(east_lon as double precision) as east_lon,

        ---------- validity
        is_valid as is_valid_in_source,
        invalid_reason,

        ---------- geometry
        geom_hash,
        {{ geom_as_published('geom') }} as geom
{%- endmacro %}
