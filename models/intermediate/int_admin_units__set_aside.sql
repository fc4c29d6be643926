-- Only keys that occur more than once are ranked: there are few, and ranking all units would sort the whole world.
with

units as (

    select * from {{ ref('int_admin_units__unioned') }}
    where set_aside_reason is null

),

repeated_keys as (

    select gid
    from {{ ref('int_admin_units__unioned') }}
    where gid is not null
        and set_aside_reason is null
    group by gid
    having count(*) > 1

),

possible_parents as (

    select distinct
        parents.admin_level,
        parents.gid
    from {{ ref('int_admin_units__unioned') }} as parents
    inner join {{ ref('int_admin_units__unioned') }} as children
        on parents.gid = children.source_parent_gid
        and parents.admin_level = {{ level_of_parent('children') }}
    inner join repeated_keys
        on children.gid = repeated_keys.gid

),

ranked as (

    select
        units.admin_level,
        units.gid,
        units.file_no,
        units.source_file,
        units.source_layer,
        units.source_fid,
        row_number() over by_rule as copy_number,
        first_value(units.admin_level) over by_rule as kept_admin_level,
        first_value(units.file_no) over by_rule as kept_file_no,
        first_value(units.source_file) over by_rule as kept_source_file,
        first_value(units.source_layer) over by_rule as kept_source_layer,
        first_value(units.source_fid) over by_rule as kept_source_fid
    from units
    inner join repeated_keys
        on units.gid = repeated_keys.gid
    left join possible_parents
        on units.source_parent_gid = possible_parents.gid
        and {{ level_of_parent('units') }} = possible_parents.admin_level
    window by_rule as (
        partition by units.gid
        order by
            units.admin_level,
            case when possible_parents.gid is not null then 0 else 1 end,
            coalesce(units.area_km2, -1) desc,
            units.file_no,
            units.source_file,
            units.source_layer,
            units.source_fid
    )

)

select
    admin_level,
    gid,
    file_no,
    source_file,
    source_layer,
    source_fid,
    'duplicate_key' as reason,
    kept_admin_level,
    kept_file_no,
    kept_source_file,
    kept_source_layer,
    kept_source_fid
from ranked
where copy_number > 1

union all

select
    admin_level,
    gid,
    file_no,
    source_file,
    source_layer,
    source_fid,
    coalesce(set_aside_reason, 'missing_key') as reason,
    cast(null as integer) as kept_admin_level,
    cast(null as integer) as kept_file_no,
    cast(null as text) as kept_source_file,
    cast(null as text) as kept_source_layer,
    cast(null as bigint) as kept_source_fid
from {{ ref('int_admin_units__unioned') }}
where set_aside_reason is not null
    or gid is null
