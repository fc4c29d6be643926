{{ config(indexes=mart_indexes(columns=['anomaly_type', 'gid'])) }}

with

anomaly_types as (

    select * from {{ ref('anomaly_types') }}

),

rows_of_the_files as (

    select * from {{ ref('int_admin_units__unioned') }}

),

set_aside as (

    select * from {{ ref('int_admin_units__set_aside') }}

),

units as (

    select * from {{ ref('int_admin_units__parents_resolved') }}

),

codes as (

    select * from {{ ref('int_admin_unit_codes') }}
    where not is_known

),

disputed_areas as (

    select * from {{ ref('disputed_areas') }}
    where dataset = '{{ boundaries() }}'

),

-- `detail` and `action` stay NULL where the seed's general words say all there is to say.
anomalies as (

    select
        reason as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        -- NULL for a missing key, since no row was kept in its place
        'the key also belongs to level ' || kept_admin_level || ', source ' || kept_file_no || ', ' || kept_source_file
        || ', layer ' || kept_source_layer || ', feature ' || kept_source_fid as detail,
        cast(null as text) as action
    from set_aside

    union all

    select
        case
            when parent_source in ('repair seed', 'key') then 'parent_repaired'
            {%- if has_ragged_parents() %}
            when source_parent_gid is null then 'parent_missing' -- no ancestor is named, on no level
            {%- endif %}
            when not is_parent_level_loaded then 'parent_not_loaded'
            when source_parent_gid is null then 'parent_missing'
            else 'parent_unknown'
        end as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        case
            when admin_level in ({{ ([-1] + levels_with('has_parents_by_geometry')) | join(', ') }})
                then 'no parent is named, and the inner point lies in no unit of the level above, or in several'
            when source_parent_gid is null then 'the parent column is empty'
            else 'the parent column says ' || source_parent_gid || ', which is no unit of level '
                || ({{ level_of_parent('units') }})
        end as detail,
        case parent_source
            when 'repair seed' then 'parent set to ' || parent_gid || ' by the repair seed: ' || repair_reason
            when 'key' then 'parent set to ' || parent_gid || ', the only unit that fits the own key'
        end as action
    from units
    where parent_source in ('repair seed', 'key', 'none')

    union all

    select
        'parent_folded' as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        'the publisher names ' || publisher_parent_gid || ' as its parent' as detail,
        case
            when admin_level = 0 then 'kept as a country of its own'
            when parent_gid is not null
                then 'kept under ' || parent_gid || ', the closest of its ancestors on a level above'
        end as action
    from units
    where publisher_parent_gid <> coalesce(parent_gid, '')

    union all

    select
        'key_disagrees_with_parent' as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        'the key points to another parent than ' || parent_gid as detail,
        'kept under ' || parent_gid || ': a valid parent column wins over the key' as action
    from units
    where has_other_parent_in_key

    union all

    select
        'malformed_key' as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        null as detail,
        null as action
    from units
    where is_malformed_key

    union all

    select
        'missing_name' as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        null as detail,
        null as action
    from units
    where name is null

    union all

    select
        case
            when vertex_count is not null then 'invalid_geometry'
            when point_lon is not null then 'missing_area'
            else 'missing_geometry'
        end as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        invalid_reason as detail,
        null as action
    from rows_of_the_files
    where vertex_count is null
        or not is_valid_in_source

    union all

    select
        'repair_changed_area' as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        cast(cast(area_km2_in_source as decimal(20, 3)) as text) || ' km² before the repair, '
        || cast(cast(area_km2 as decimal(20, 3)) as text) || ' km² after it: ' || invalid_reason as detail,
        null as action
    from rows_of_the_files
    where not is_valid_in_source
        and abs(area_km2 - area_km2_in_source) > 0.001 * area_km2_in_source

    union all

    select
        'children_do_not_tile' as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        'its children have ' || cast(cast(100 * children_area_share as decimal(20, 1)) as text) || ' % of its area'
            as detail,
        null as action
    from units
    where abs(children_area_share - 1) > 0.001

    union all

    select
        'disputed_area' as anomaly_type,
        units.admin_level,
        units.gid,
        units.file_no,
        units.source_file,
        units.source_layer,
        units.source_fid,
        disputed_areas.area || ', listed under ' || disputed_areas.listed_under as detail,
        null as action
    from units
    inner join disputed_areas
        on units.gid = disputed_areas.gid

    union all

    select
        'unknown_code' as anomaly_type,
        admin_level,
        gid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        scheme || ' does not have the code ' || code as detail,
        null as action
    from codes

)

select
    anomalies.anomaly_type,
    anomaly_types.severity,
    anomalies.admin_level,
    anomalies.gid,
    anomalies.file_no,
    anomalies.source_file,
    anomalies.source_layer,
    anomalies.source_fid,
    coalesce(anomalies.detail, anomaly_types.meaning) as detail,
    coalesce(anomalies.action, anomaly_types.action) as action
from anomalies
-- A type that the seed lacks has no severity, which the contract refuses; an inner join would drop its rows silently.
left join anomaly_types
    on anomalies.anomaly_type = anomaly_types.anomaly_type
