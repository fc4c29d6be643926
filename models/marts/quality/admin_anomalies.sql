{{ config(indexes=mart_indexes(columns=['anomaly_type', 'gid'])) }}

with

rows_of_the_files as (

    select * from {{ ref('int_admin_units__unioned') }}

),

set_aside as (

    select * from {{ ref('int_admin_units__set_aside') }}

),

units as (

    select * from {{ ref('int_admin_units__parents_resolved') }}

),

disputed_areas as (

    select * from {{ ref('disputed_areas') }}

),

anomalies as (

    select
        reason as anomaly_type,
        'error' as severity,
        admin_level,
        gid,
        source_file,
        source_fid,
        case reason
            when 'missing_key' then 'the row has no key'
            else 'the key also belongs to level ' || kept_admin_level || ', ' || kept_source_file || ', feature ' || kept_source_fid
        end as detail,
        case reason
            when 'missing_key' then 'set aside: no other row can refer to it'
            else 'set aside: kept is the row of the coarsest level, then with a known parent, then with the largest area, then first in the file'
        end as action
    from set_aside

    union all

    select
        case
            when parent_source in ('repair seed', 'key') then 'parent_repaired'
            when not is_parent_level_loaded then 'parent_not_loaded'
            when source_parent_gid is null then 'parent_missing'
            else 'parent_unknown'
        end as anomaly_type,
        case
            when parent_source in ('repair seed', 'key') then 'warning'
            when not is_parent_level_loaded then 'info'
            else 'error'
        end as severity,
        admin_level,
        gid,
        source_file,
        source_fid,
        case
            when source_parent_gid is null then 'the parent column is empty'
            else 'the parent column says ' || source_parent_gid || ', which is no unit of level ' || (admin_level - 1)
        end as detail,
        case parent_source
            when 'repair seed' then 'parent set to ' || parent_gid || ' by the repair seed: ' || repair_reason
            when 'key' then 'parent set to ' || parent_gid || ', the only unit that fits the own key'
            else 'kept without a parent'
        end as action
    from units
    where parent_source in ('repair seed', 'key', 'none')

    union all

    select
        'key_disagrees_with_parent' as anomaly_type,
        'info' as severity,
        admin_level,
        gid,
        source_file,
        source_fid,
        'the key points to another parent than ' || parent_gid as detail,
        'kept under ' || parent_gid || ': a valid parent column wins over the key' as action
    from units
    where has_other_parent_in_key

    union all

    select
        'malformed_key' as anomaly_type,
        'info' as severity,
        admin_level,
        gid,
        source_file,
        source_fid,
        'the key does not follow the pattern COUNTRY.n.n_version' as detail,
        'kept as it is' as action
    from units
    where is_malformed_key

    union all

    select
        'missing_name' as anomaly_type,
        'info' as severity,
        admin_level,
        gid,
        source_file,
        source_fid,
        'the unit has no name' as detail,
        'kept; its path shows the key in place of the name' as action
    from units
    where name is null

    union all

    select
        'invalid_geometry' as anomaly_type,
        'warning' as severity,
        admin_level,
        gid,
        source_file,
        source_fid,
        coalesce(invalid_reason, 'the geometry was invalid') as detail,
        'repaired while loading' as action
    from rows_of_the_files
    where not is_valid_in_source
        and vertex_count is not null

    union all

    select
        'missing_geometry' as anomaly_type,
        'error' as severity,
        admin_level,
        gid,
        source_file,
        source_fid,
        coalesce(invalid_reason, 'the row has no geometry') as detail,
        'kept without geometry' as action
    from rows_of_the_files
    where vertex_count is null

    union all

    select
        'disputed_area' as anomaly_type,
        'info' as severity,
        units.admin_level,
        units.gid,
        units.source_file,
        units.source_fid,
        disputed_areas.area || ', listed under ' || disputed_areas.listed_under as detail,
        'kept as a country of its own, marked is_disputed with all units inside' as action
    from units
    inner join disputed_areas
        on units.gid = disputed_areas.gid

)

select
    anomaly_type,
    severity,
    admin_level,
    gid,
    source_file,
    source_fid,
    detail,
    action
from anomalies
