{{ config(indexes=mart_indexes(geometry='geom')) }}

-- Reads staging, so that cutting, which takes as long as building the marts of the levels, runs beside them.
with

leaves as (

    select * from {{ ref('int_admin_leaves') }}
    where geom is not null

)

{{ geometry_parts('leaves', 'gid', 1000) }}
