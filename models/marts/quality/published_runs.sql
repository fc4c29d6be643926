{{ config(materialized='view') }}

select
    dataset,
    run_id,
    release,
    variant,
    scope,
    published_at
from {{ source('ledger', 'ingest_runs') }}
where state = 'published'
