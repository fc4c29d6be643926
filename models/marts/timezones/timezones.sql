{{ config(indexes=mart_indexes(geometry='geom')) }}

with

zones as (

    select * from {{ ref('stg_timezones__timezones') }}

),

set_aside as (

    select * from {{ ref('timezones_set_aside') }}

),

offsets as (

    select * from {{ ref('timezone_offsets') }}

)

select
    ---------- ids
    zones.tzid,

    ---------- text
    offsets.standard_utc_offset,
    offsets.daylight_utc_offset,

    ---------- numbers
    offsets.standard_utc_offset_minutes,
    offsets.daylight_utc_offset_minutes,
    offsets.reference_year as offsets_reference_year,
    zones.area_km2,
    zones.vertex_count,
    zones.point_lon,
    zones.point_lat,
    zones.min_lon,
    zones.min_lat,
    zones.max_lon,
    zones.max_lat,
    zones.west_lon,
    zones.east_lon,

    ---------- origin
    zones.release,
    zones.file_no,
    zones.source_file,
    zones.source_layer,
    zones.source_fid,
    zones.is_valid_in_source,

    ---------- geometry
    zones.geom_hash,
    zones.geom
from zones
left join offsets
    on zones.tzid = offsets.tzid
left join set_aside
    on {{ is_same_row('zones', 'set_aside') }}
where set_aside.source_fid is null
