-- How many vertices do the provinces of Algeria have on a map, and what share is that?
select
    simplified.tolerance_degrees,
    count(*) as provinces,
    sum(simplified.vertex_count) as vertices,
    round(100.0 * sum(simplified.vertex_count) / sum(provinces.vertex_count)) as percent
from marts.admin_units_simplified as simplified
inner join marts.admin_level_1 as provinces
    on simplified.gid = provinces.gid
where provinces.gid_0 = 'DZA'
group by simplified.tolerance_degrees
order by simplified.tolerance_degrees
