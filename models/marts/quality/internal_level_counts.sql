-- Four independent counts of the same rows: in the ledger (taken in the file before loading), in staging, in the mart,
-- and of what was set aside. A unit that staging has put together of others is in no file; some
-- publishers tell of one unit in two rows, or have units of two levels in one file.
with

levels as (
    {% for level in admin_levels() %}
    select {{ level }} as admin_level
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

pinned_run as (

    select
        run_id,
        release,
        scope
    from {{ source('marts', 'marts_meta') }}
    where dataset = '{{ boundaries() }}'
        and run_id is not null

),

file_counts as (

    select
        slices.level as admin_level,
        sum(slices.rows_planned) as row_count,
        sum(slices.rows_loaded) as loaded_count
    from {{ source('ledger', 'ingest_slices') }} as slices
    inner join pinned_run
        on slices.run_id = pinned_run.run_id
    group by slices.level

),

staged_counts as (

    select
        admin_level,
        count(*) as row_count,
        sum(case when source_rows = 0 then 1 else 0 end) as derived_count,
        sum(case when source_rows > 1 then source_rows - 1 else 0 end) as merged_count,
        sum(case when source_level <> admin_level then source_rows else 0 end) as arrived_count
    from {{ ref('int_admin_units__unioned') }}
    group by admin_level

),

departed_counts as (

    select
        source_level as admin_level,
        sum(source_rows) as row_count
    from {{ ref('int_admin_units__unioned') }}
    where source_level <> admin_level
    group by source_level

),

set_aside_counts as (

    select
        admin_level,
        count(*) as row_count
    from {{ ref('int_admin_units__set_aside') }}
    group by admin_level

),

mart_counts as (
    {% for level in admin_levels() %}
    select
        {{ level }} as admin_level,
        count(*) as row_count
    from {{ ref('admin_level_' ~ level) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

expected_counts as (

    select
        expected.admin_level,
        expected.expected_rows
    from {{ ref('expected_counts') }} as expected
    inner join pinned_run
        on expected.dataset = '{{ boundaries() }}'
        and expected.release = pinned_run.release
        -- only the publisher's whole file can be expected to hold every unit
        and pinned_run.scope = 'world'

),

counts as (

    select
        levels.admin_level,
        pinned_run.release,
        pinned_run.run_id,
        pinned_run.scope,
        expected_counts.expected_rows as rows_expected,
        cast(coalesce(file_counts.row_count, 0) as bigint) as rows_in_file,
        cast(coalesce(file_counts.loaded_count, 0) as bigint) as rows_loaded,
        cast(coalesce(staged_counts.derived_count, 0) as bigint) as rows_derived,
        cast(coalesce(staged_counts.merged_count, 0) as bigint) as rows_merged,
        cast(
            coalesce(staged_counts.arrived_count, 0) - coalesce(departed_counts.row_count, 0) as bigint
        ) as rows_moved,
        coalesce(staged_counts.row_count, 0) as rows_staged,
        coalesce(mart_counts.row_count, 0) as rows_in_mart,
        coalesce(set_aside_counts.row_count, 0) as rows_set_aside
    from levels
    left join pinned_run
        on levels.admin_level >= 0
    left join file_counts
        on levels.admin_level = file_counts.admin_level
    left join staged_counts
        on levels.admin_level = staged_counts.admin_level
    left join departed_counts
        on levels.admin_level = departed_counts.admin_level
    left join mart_counts
        on levels.admin_level = mart_counts.admin_level
    left join set_aside_counts
        on levels.admin_level = set_aside_counts.admin_level
    left join expected_counts
        on levels.admin_level = expected_counts.admin_level

)

select
    counts.*,
    rows_in_file + rows_derived + rows_moved = rows_staged + rows_merged
    and rows_staged = rows_in_mart + rows_set_aside as is_balanced,
    rows_in_file = rows_expected as is_as_expected
from counts
