-- Where does the source leave gaps between its units, and how long and wide are they?
select
    coalesce(parents.path, units.path) as within,
    gaps.admin_level,
    cast(gaps.length_km as decimal(10, 2)) as length_km,
    cast(gaps.width_m as decimal(10, 2)) as width_m,
    cast(gaps.lon as decimal(10, 4)) as lon,
    cast(gaps.lat as decimal(10, 4)) as lat
from marts.admin_topology_faults as gaps
left join marts.admin_units as parents
    on gaps.parent_gid = parents.gid
left join marts.admin_units as units
    on gaps.gid = units.gid
where gaps.fault_kind = 'gap'
order by gaps.length_km desc
