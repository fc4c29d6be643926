{#-
  A published raw table holds exactly the rows that the ledger says were loaded into it. Raw tables on PostgreSQL are unlogged, so a crash of the server empties them:
  this test stands on the source, so that a build then stops before the marts, which stay as they were.
-#}
{% test rows_agree_with_ledger(model, dataset, table_name) %}

with

loaded as (

    select coalesce(sum(slices.rows_loaded), 0) as row_count
    from {{ source('ledger', 'ingest_slices') }} as slices
    inner join {{ source('ledger', 'ingest_runs') }} as runs
        on slices.run_id = runs.run_id
    where runs.dataset = '{{ dataset }}'
        and runs.state = 'published'
        and slices.table_name = '{{ table_name }}'

),

present as (

    select count(*) as row_count
    from {{ model }}

)

select
    '{{ table_name }}' as table_name,
    loaded.row_count as rows_by_ledger,
    present.row_count as rows_present,
    'load it again: python -m ingest {{ dataset }} --force' as advice
from loaded
cross join present
where loaded.row_count <> present.row_count

{% endtest %}
