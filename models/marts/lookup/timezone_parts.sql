{{ config(indexes=mart_indexes(geometry='geom')) }}

with

zones as (

    select * from {{ ref('timezones') }}
    where geom is not null

)

{{ geometry_parts('zones', 'tzid') }}
