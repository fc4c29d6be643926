-- The spans of a zone in `timezone_transitions` follow one another, and every zone has some. A new release of the zones
-- may bring one that the installed `tzdata` does not know: install a newer one.
{{ config(severity='warn') }}

with

zones as (

    select * from {{ ref('timezones') }}

),

spans as (

    select
        tzid,
        starts_at,
        ends_at,
        lead(starts_at) over (partition by tzid order by starts_at) as next_starts_at
    from {{ ref('timezone_transitions') }}

)

select
    zones.tzid,
    spans.starts_at,
    spans.ends_at
from zones
left join spans
    on zones.tzid = spans.tzid
where spans.tzid is null
    or spans.ends_at <= spans.starts_at
    or spans.ends_at <> spans.next_starts_at
