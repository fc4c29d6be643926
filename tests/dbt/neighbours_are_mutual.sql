-- admin_unit_neighbours: each pair is there both ways, with one length that is not nothing, and no unit is its own
with

neighbours as (

    select * from {{ ref('admin_unit_neighbours') }}

)

select
    neighbours.gid,
    neighbours.neighbour_gid
from neighbours
left join neighbours as reverse
    on neighbours.gid = reverse.neighbour_gid
    and neighbours.neighbour_gid = reverse.gid
    and neighbours.admin_level = reverse.admin_level
    and neighbours.border_km = reverse.border_km
where reverse.gid is null
    or neighbours.gid = neighbours.neighbour_gid
    or neighbours.border_km <= 0
