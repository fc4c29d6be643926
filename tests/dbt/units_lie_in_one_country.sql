-- admin_units, per unit: it lies in the country of its parent. Together with `ancestors_agree_with_units`: it lies in
-- one country only.
select
    units.gid,
    units.country_gid,
    parents.country_gid as country_gid_of_parent
from {{ ref('admin_units') }} as units
inner join {{ ref('admin_units') }} as parents
    on units.parent_gid = parents.gid
where units.country_gid is distinct from parents.country_gid
