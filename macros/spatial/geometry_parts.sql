{#-
  The select that cuts the geometries of a CTE into parts small enough to be probed with a point, together with their
  key. The CTE has the key and `geom`.

  Every part is a polygon, which keeps its box small: the box of a unit with islands would span them all. A polygon of
  more than `max_vertices` is halved across the longer side of its box, again and again (piece n gives 2n and 2n + 1);
  a half may consist of several polygons.
  Both targets clip with GEOS' rectangle clipping and so give the same parts. ADR 12 lists the alternatives that were
  measured.
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
