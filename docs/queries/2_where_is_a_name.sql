-- Which units are called Orange, and where are they?
select
    gid,
    path,
    child_count
from marts.admin_units
where name = 'Orange'
order by path
