-- internal_level_counts, per level: the publisher's whole file holds what its release is known to hold. A missing level
-- fails, and so does an extra one. A warning only, since the publisher may rebuild a release. Where less than the whole
-- file was loaded, there is nothing to compare.
{{ config(severity='warn') }}

with

counts as (

    select
        release,
        admin_level,
        rows_in_file
    from {{ ref('internal_level_counts') }}
    where scope = 'world'
        and release in (
            select release
            from {{ ref('expected_counts') }}
            where dataset = '{{ boundaries() }}'
        )

),

expected as (

    select
        release,
        admin_level,
        expected_rows
    from {{ ref('expected_counts') }}
    where dataset = '{{ boundaries() }}'
        and release in (select release from counts)

)

select
    coalesce(counts.release, expected.release) as release,
    coalesce(counts.admin_level, expected.admin_level) as admin_level,
    expected.expected_rows,
    counts.rows_in_file
from counts
full outer join expected
    on counts.release = expected.release
    and counts.admin_level = expected.admin_level
where counts.rows_in_file is distinct from expected.expected_rows
