{#- The select that cuts the geometries of a CTE that have more than `max_vertices`: key, polygon_number, piece_number, geom. -#}
{% macro cut_polygons(cte, key, max_vertices) %}
    {{ return(adapter.dispatch('cut_polygons')(cte, key, max_vertices)) }}
{% endmacro %}

{#- The halves have names of two bits less than a bigint has: a heap of vertices on one spot, which no halving takes apart, ends there. -#}
{% macro default__cut_polygons(cte, key, max_vertices) %}
    with recursive halves as (

        select
            {{ key }},
            polygon_number,
            cast(1 as bigint) as piece_number,
            geom
        from (
            {{ polygons_of(cte, key, max_vertices) }}
        ) as polygons
        where st_npoints(geom) > {{ max_vertices }}

        union all

        select
            halves.{{ key }},
            halves.polygon_number,
            halves.piece_number * 2 + side as piece_number,
            st_clipbybox2d(halves.geom, st_makeenvelope(
                case when side = 1 and is_wide then mid_lon else min_lon end,
                case when side = 1 and not is_wide then mid_lat else min_lat end,
                case when side = 0 and is_wide then mid_lon else max_lon end,
                case when side = 0 and not is_wide then mid_lat else max_lat end,
                4326
            )) as geom
        from halves
        cross join lateral (
            select
                st_xmin(halves.geom) as min_lon,
                st_ymin(halves.geom) as min_lat,
                st_xmax(halves.geom) as max_lon,
                st_ymax(halves.geom) as max_lat,
                (st_xmin(halves.geom) + st_xmax(halves.geom)) / 2 as mid_lon,
                (st_ymin(halves.geom) + st_ymax(halves.geom)) / 2 as mid_lat,
                st_xmax(halves.geom) - st_xmin(halves.geom) > st_ymax(halves.geom) - st_ymin(halves.geom) as is_wide
        ) as box
        cross join generate_series(0, 1) as side
        where st_npoints(halves.geom) > {{ max_vertices }}
            and halves.piece_number < {{ 2 ** 60 }}

    )

    select
        {{ key }},
        polygon_number,
        piece_number,
        geom
    from halves
    where not st_isempty(geom)
        and (st_npoints(geom) <= {{ max_vertices }} or piece_number >= {{ 2 ** 60 }})
{% endmacro %}

{#- `cut_polygon` is Shapely's, registered by `ingest.duckdb_plugin`: DuckDB has GEOS and does not show its rectangle clipping. -#}
{% macro duckdb__cut_polygons(cte, key, max_vertices) %}
    select
        {{ key }},
        polygon_number,
        piece.piece_number,
        st_geomfromwkb(piece.geom) as geom
    from (
        select
            {{ key }},
            polygon_number,
            unnest(cut_polygon(st_aswkb(geom), {{ max_vertices }})) as piece
        from (
            {{ polygons_of(cte, key, max_vertices) }}
        ) as polygons
        where st_npoints(geom) > {{ max_vertices }}
    ) as cuts
{% endmacro %}
