-- The parent column comes first; where it names no unit of a level above, a documented repair; otherwise the unit's own
-- key, if exactly one unit fits it; and where the publisher names no parents, the geometry.
with

units as (

    select * from {{ ref('int_admin_units__deduplicated') }}

),

repairs as (

    select * from {{ ref('key_repairs') }}
    where dataset = '{{ boundaries() }}'

),

-- Each role selects from the table itself, since PostgreSQL has no statistics of a CTE that several joins share.
units_by_column as (

    select
        admin_level,
        gid,
        key_stem
    from {{ ref('int_admin_units__deduplicated') }}

),

units_by_repair as (

    select
        admin_level,
        gid,
        key_stem
    from {{ ref('int_admin_units__deduplicated') }}

),

units_by_key as (

    select
        admin_level,
        key_stem,
        min(gid) as gid
    from {{ ref('int_admin_units__deduplicated') }}
    group by admin_level, key_stem
    having count(*) = 1

),

parents_by_geometry as (

    select * from {{ ref('int_admin_units__parents_by_geometry') }}

),

units_at_point as (

    select
        admin_level,
        gid,
        key_stem
    from {{ ref('int_admin_units__deduplicated') }}

),

-- which levels the files hold for which country: a file of one level has no parents to offer, and its rows are not to
-- blame
loaded_levels as (

    select distinct
        admin_level,
        coalesce(source_gid_0, gid) as country_key
    from {{ ref('int_admin_units__deduplicated') }}

),

resolved as (

    select
        units.*,
        repairs.reason as repair_reason,
        loaded_levels.admin_level is not null as is_parent_level_loaded,
        coalesce(units_by_column.gid, units_by_repair.gid, units_by_key.gid, units_at_point.gid) as parent_gid,
        coalesce(
            units_by_column.key_stem, units_by_repair.key_stem, units_by_key.key_stem, units_at_point.key_stem
        ) as stem_of_parent,
        case
            when units.admin_level = 0 then 'root'
            when units_by_column.gid is not null then 'column'
            when units_by_repair.gid is not null then 'repair seed'
            when units_by_key.gid is not null then 'key'
            when units_at_point.gid is not null then 'geometry'
            else 'none'
        end as parent_source
    from units
    left join units_by_column
        on units.source_parent_gid = units_by_column.gid
        and {{ level_of_parent('units') }} = units_by_column.admin_level
    left join repairs
        on units.gid = repairs.gid
        and units.release = repairs.release
    left join units_by_repair
        on repairs.parent_gid = units_by_repair.gid
        and units.admin_level {{ '>' if has_ragged_parents() else '- 1 =' }} units_by_repair.admin_level
    left join units_by_key
        on units.parent_key_stem = units_by_key.key_stem
        and units.admin_level - 1 = units_by_key.admin_level
    left join parents_by_geometry
        on units.gid = parents_by_geometry.gid
        and units.admin_level = parents_by_geometry.admin_level
    left join units_at_point
        on parents_by_geometry.parent_gid = units_at_point.gid
        and units.admin_level - 1 = units_at_point.admin_level
    left join loaded_levels
        on units.source_gid_0 = loaded_levels.country_key
        and {{ level_of_parent('units') }} = loaded_levels.admin_level

),

children as (

    select
        parent_gid,
        count(*) as child_count,
        sum(area_km2) as area_km2
    from resolved
    where parent_gid is not null
    group by parent_gid

)

select
    resolved.admin_level,
    resolved.release,
    resolved.file_no,
    resolved.source_file,
    resolved.source_layer,
    resolved.source_fid,
    resolved.gid,
    resolved.parent_gid,
    resolved.parent_source,
    resolved.source_parent_gid,
    resolved.publisher_parent_gid,
    {%- for ancestor in admin_levels()[:-1] %}
    resolved.source_gid_{{ ancestor }},
    {%- endfor %}
    resolved.name,
    resolved.type_local,
    resolved.type_english,
    resolved.area_km2,
    resolved.geom_hash,
    resolved.is_malformed_key,
    resolved.is_parent_level_loaded,
    case when resolved.parent_source = 'repair seed' then resolved.repair_reason end as repair_reason,
    coalesce(resolved.parent_key_stem <> resolved.stem_of_parent, false) as has_other_parent_in_key,
    coalesce(children.child_count, 0) as child_count,
    children.child_count is null as is_leaf,
    children.area_km2 / nullif(resolved.area_km2, 0) as children_area_share,
    -- less than a millionth comes from rounding
    case
        when children.child_count is null then false
        when resolved.area_km2 is null then true
        else coalesce(abs(children.area_km2 - resolved.area_km2) <= 1e-6 * resolved.area_km2, false)
    end as is_covered_by_children
from resolved
left join children
    on resolved.gid = children.parent_gid
