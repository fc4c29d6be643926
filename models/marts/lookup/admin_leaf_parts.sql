{{ config(indexes=mart_indexes(geometry='geom')) }}

-- From what is staged, not from the marts of the levels: those are built one after another, and cutting takes as long as they do.
with

leaves as (

    select * from {{ ref('int_admin_leaves') }}
    where geom is not null

)

{{ geometry_parts('leaves', 'gid', 1000) }}
