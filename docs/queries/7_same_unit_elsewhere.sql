-- Which counties of TIGER/Line are the units called Orange, and how was that found?
select
    unit_matches.gid,
    unit_matches.other_gid,
    admin_units.path,
    unit_matches.method,
    cast(unit_matches.confidence as decimal(4, 2)) as confidence
from marts.unit_matches
inner join marts.admin_units
    on unit_matches.gid = admin_units.gid
where
    admin_units.name = 'Orange'
    and unit_matches.other_dataset = 'tiger'
order by admin_units.path
