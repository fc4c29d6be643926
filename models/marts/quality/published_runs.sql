{{ config(materialized='view', contract={'enforced': false}) }}

select
    dataset,
    run_id,
    release,
    variant,
    scope,
    published_at
from {{ source('ledger', 'ingest_runs') }}
where state = 'published'
