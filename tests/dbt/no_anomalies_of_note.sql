-- admin_anomalies, per kind: faults of the publisher's data that lost or changed something. A warning only, since they
-- are known, handled and listed. To see the rows: select * from marts.admin_anomalies where severity <> 'info'
{{ config(severity='warn') }}

select
    anomaly_type,
    severity,
    admin_level,
    count(*) as row_count,
    min(gid) as example_gid,
    min(action) as example_action
from {{ ref('admin_anomalies') }}
where severity <> 'info'
group by anomaly_type, severity, admin_level
