-- admin_anomalies, per level: every row that was set aside is there with its reason
with

reported as (

    select
        admin_level,
        count(*) as row_count
    from {{ ref('admin_anomalies') }}
    where anomaly_type in ('duplicate_key', 'missing_key', 'area_without_unit', 'second_area', 'territorial_area')
    group by admin_level

)

select
    counts.admin_level,
    counts.rows_set_aside,
    reported.row_count as rows_reported
from {{ ref('internal_level_counts') }} as counts
left join reported
    on counts.admin_level = reported.admin_level
where counts.rows_set_aside <> coalesce(reported.row_count, 0)
