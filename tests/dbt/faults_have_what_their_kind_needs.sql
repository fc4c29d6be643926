-- admin_topology_faults: each has the keys that its kind needs, and a size
with

faults as (

    select * from {{ ref('admin_topology_faults') }}

),

units as (

    select * from {{ ref('admin_units') }}

)

select faults.fault_number
from faults
left join units as parents
    on faults.parent_gid = parents.gid
where (faults.gid is null and faults.fault_kind <> 'gap')
    or (faults.other_gid is null and faults.fault_kind = 'overlap')
    or (faults.other_gid is not null and faults.fault_kind in ('sliver', 'outside_parent'))
    or faults.gid = faults.other_gid
    or (faults.admin_level = 0 and (faults.parent_gid is not null or faults.fault_kind = 'outside_parent'))
    or parents.admin_level <> faults.admin_level - 1
    or faults.area_km2 <= 0
    or faults.length_km <= 0
    or faults.width_m <= 0
