-- timezones: one row for each row that was staged
with

counts as (

    select
        (select count(*) from {{ ref('stg_timezones__timezones') }}) as rows_staged,
        (select count(*) from {{ ref('timezones') }}) as rows_in_mart

)

select
    rows_staged,
    rows_in_mart
from counts
where rows_staged <> rows_in_mart
