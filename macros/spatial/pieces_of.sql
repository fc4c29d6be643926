{#-
  The select that takes the geometries of a CTE apart into polygons, and polygons of more than `max_vertices` into
  pieces: key, polygon_number, piece_number, geom. Each geometry is read once.
-#}
{% macro pieces_of(cte, key, max_vertices) %}
    {{ return(adapter.dispatch('pieces_of')(cte, key, max_vertices)) }}
{% endmacro %}

{#-
  Halving stops at piece number 2^60, while the numbers still fit a bigint: vertices that all lie on one spot can never
  be separated.
-#}
{% macro default__pieces_of(cte, key, max_vertices) %}
    select
        {{ cte }}.{{ key }},
        polygons.path[1] as polygon_number,
        pieces.piece_number,
        pieces.geom
    from {{ cte }}
    cross join lateral st_dump({{ cte }}.geom) as polygons
    cross join lateral (
        with recursive halves as (

            select
                cast(1 as bigint) as piece_number,
                polygons.geom

            union all

            select
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
            piece_number,
            geom
        from halves
        where not st_isempty(geom)
            and (st_npoints(geom) <= {{ max_vertices }} or piece_number >= {{ 2 ** 60 }})
    ) as pieces
{% endmacro %}

{#-
  `cut_polygon` uses Shapely and is registered by `admin_boundaries.duckdb_plugin`, because DuckDB does not expose the
  rectangle clipping of its GEOS.
-#}
{% macro duckdb__pieces_of(cte, key, max_vertices) %}
    select
        {{ key }},
        polygon_number,
        piece.piece_number,
        piece.geom
    from (
        select
            {{ key }},
            polygon.path[1] as polygon_number,
            unnest(case
                when st_npoints(polygon.geom) <= {{ max_vertices }}
                    then [struct_pack(piece_number := cast(1 as bigint), geom := st_setcrs(polygon.geom, ''))]
                else list_transform(
                    cut_polygon(st_aswkb(polygon.geom), {{ max_vertices }}),
                    lambda cut: struct_pack(piece_number := cut.piece_number, geom := st_geomfromwkb(cut.geom))
                )
            end) as piece
        from (
            select
                {{ key }},
                unnest(st_dump(geom)) as polygon
            from {{ cte }}
        ) as polygons
    ) as pieces
{% endmacro %}

{#-
  `cut_polygon` is Shapely's here as well: `admin_boundaries.spark.functions` sends it to the workers. Spark calls it
  for all rows, whatever a condition around it says, so that it is what it gets that depends on the number of vertices.
-#}
{% macro spark__pieces_of(cte, key, max_vertices) %}
    select
        {{ key }},
        polygon_number,
        piece.piece_number,
        st_geomfromwkb(piece.geom) as geom
    from (
        select
            {{ key }},
            polygon_number + 1 as polygon_number,
            explode(coalesce(
                cut_polygon(
                    case when st_npoints(polygon) > {{ max_vertices }} then st_asbinary(polygon) end, {{ max_vertices }}
                ),
                array(named_struct('piece_number', cast(1 as bigint), 'geom', st_asbinary(polygon)))
            )) as piece
        from (
            select
                {{ key }},
                posexplode(st_dump(geom)) as (polygon_number, polygon)
            from {{ cte }}
        ) as polygons
    ) as pieces
{% endmacro %}
