-- Which states border Colorado, and along how many kilometres?
select
    neighbours.name,
    round(admin_unit_neighbours.border_km) as border_km
from marts.admin_unit_neighbours
inner join marts.admin_level_1 as states
    on admin_unit_neighbours.gid = states.gid
inner join marts.admin_level_1 as neighbours
    on admin_unit_neighbours.neighbour_gid = neighbours.gid
where states.name = 'Colorado'
order by admin_unit_neighbours.border_km desc
