-- admin_units, per unit: its parent is exactly one level above. Following parents upwards therefore never goes in a
-- circle.
select
    units.gid,
    units.admin_level,
    units.parent_gid,
    parents.admin_level as parent_level
from {{ ref('admin_units') }} as units
inner join {{ ref('admin_units') }} as parents
    on units.parent_gid = parents.gid
where parents.admin_level <> units.admin_level - 1
