-- Of several rows with one name the largest is kept: a source that was given twice, or two releases side by side.
with

zones as (

    select * from {{ ref('stg_timezones__timezones') }}

),

ranked as (

    select
        tzid,
        file_no,
        source_file,
        source_layer,
        source_fid,
        row_number() over by_rule as copy_number,
        first_value(file_no) over by_rule as kept_file_no,
        first_value(source_file) over by_rule as kept_source_file,
        first_value(source_layer) over by_rule as kept_source_layer,
        first_value(source_fid) over by_rule as kept_source_fid
    from zones
    window by_rule as (
        partition by tzid
        order by coalesce(area_km2, -1) desc, file_no, source_file, source_layer, source_fid
    )

)

select
    tzid,
    file_no,
    source_file,
    source_layer,
    source_fid,
    case when tzid is null then 'missing_key' else 'duplicate_key' end as reason,
    case when tzid is not null then kept_file_no end as kept_file_no,
    case when tzid is not null then kept_source_file end as kept_source_file,
    case when tzid is not null then kept_source_layer end as kept_source_layer,
    case when tzid is not null then kept_source_fid end as kept_source_fid
from ranked
where copy_number > 1
    or tzid is null
