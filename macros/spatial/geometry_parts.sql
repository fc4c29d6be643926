{#-
  The select that turns a CTE of geometries into parts small enough to be probed by a point, with the key they belong to. The CTE has the key and `geom`.

  A part is a polygon, so that its box is no larger than need be: a unit with islands would fill the box of them all. A polygon of more than `max_vertices` is halved across the longer side of its box, again and again
  (piece n gives 2n and 2n + 1). Both targets clip with GEOS' rectangle clipping, and so give the same parts. ADR 12 says what else was measured.
-#}
{% macro geometry_parts(cte, key, max_vertices) %}
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
    {{ pieces_of(cte, key, max_vertices) }}
) as pieces
{% endmacro %}
