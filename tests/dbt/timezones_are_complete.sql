-- timezones: every row that was staged is a zone or set aside
with

counts as (

    select
        (select count(*) from {{ ref('stg_timezones__timezones') }}) as rows_staged,
        (select count(*) from {{ ref('timezones') }}) as rows_in_mart,
        (select count(*) from {{ ref('timezones_set_aside') }}) as rows_set_aside

)

select
    rows_staged,
    rows_in_mart,
    rows_set_aside
from counts
where rows_staged <> rows_in_mart + rows_set_aside
