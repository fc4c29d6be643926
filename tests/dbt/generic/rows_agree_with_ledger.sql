{#-
  The raw table of a run holds exactly the rows that, according to the ledger, were loaded into it. Raw tables on
  PostgreSQL are unlogged, so a server crash empties them. Because the test is on the source, a build then stops
  before the marts, which keep their last content.
-#}
{% test rows_agree_with_ledger(model, dataset, table_name) %}

with

loaded as (

    select coalesce(sum(rows_loaded), 0) as row_count
    from {{ source('ledger', 'ingest_slices') }}
    where run_id = {{ text_literal(pinned_run(dataset).run_id) }}
        and table_name = '{{ table_name }}'

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
