{% snapshot built_releases %}

{{ config(
    unique_key='dataset',
    strategy='check',
    check_cols=['run_id', 'release', 'variant', 'scope'],
) }}

select
    dataset,
    run_id,
    release,
    variant,
    scope
from {{ source('marts', 'marts_meta') }}
where run_id is not null

{% endsnapshot %}
