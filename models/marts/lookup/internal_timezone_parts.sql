{{ config(indexes=mart_indexes(geometry='geom')) }}

with

zones as (

    select * from {{ ref('timezones') }}
    where geom is not null

)

-- small ones, since every leaf is compared with them
{{ geometry_parts('zones', 'tzid', 250) }}
