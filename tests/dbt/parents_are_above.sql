-- admin_units, per unit: its parent is one level above, or in a dataset with ragged parents, any number of levels.
-- Following parents upwards therefore never goes in a circle.
select
    units.gid,
    units.admin_level,
    units.parent_gid,
    parents.admin_level as parent_level
from {{ ref('admin_units') }} as units
inner join {{ ref('admin_units') }} as parents
    on units.parent_gid = parents.gid
where parents.admin_level {{ '>=' if has_ragged_parents() else '<> -1 +' }} units.admin_level
