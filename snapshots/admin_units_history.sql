{% snapshot admin_units_history %}

{{ config(
    unique_key='gid',
    strategy='check',
    check_cols=['admin_level', 'parent_gid', 'country_gid', 'name', 'area_km2', 'geom_hash'],
    post_hook=["{{ note_release_of_the_end() }}"],
) }}

select
    gid,
    admin_level,
    parent_gid,
    country_gid,
    name,
    -- the area of a union is a sum, whose last digits depend on the order of its parts
    round(1e6 * area_km2) / 1e6 as area_km2,
    geom_hash,
    release,
    cast(null as text) as release_to
from {{ ref('admin_units') }}

{% endsnapshot %}
