{#-
  The select that turns a CTE of geometries into parts small enough to be probed by a point, with the key they belong to. The CTE has the key, `vertex_count`, the box and `geom`.

  Up to `max_vertices` a geometry stays one part, as it is (polygon 0, piece 1). A larger one is taken apart into its polygons, which costs next to nothing and is most of the work for a coast with
  its islands; a polygon that is still larger is halved across the longer side of its box, again and again (piece n gives 2n and 2n + 1). Both targets clip with GEOS' rectangle clipping, and so give the same
  parts. ADR 12 says what else was measured.
-#}
{% macro geometry_parts(cte, key, max_vertices) %}
select
    {{ key }},
    0 as polygon_number,
    cast(1 as bigint) as piece_number,
    vertex_count,
    min_lon,
    min_lat,
    max_lon,
    max_lat,
    geom
from {{ cte }}
where vertex_count <= {{ max_vertices }}

union all

select
    {{ key }},
    polygon_number,
    piece_number,
    cast(st_npoints(geom) as bigint) as vertex_count,
    st_xmin(geom) as min_lon,
    st_ymin(geom) as min_lat,
    st_xmax(geom) as max_lon,
    st_ymax(geom) as max_lat,
    {{ multipolygon_as_published('geom') }} as geom
from (
    {{ cut_polygons(cte, key, max_vertices) }}
) as pieces
{% endmacro %}
