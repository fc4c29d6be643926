{{ config(indexes=mart_indexes(geometry='geom')) }}

-- From what is staged, not from the marts of the levels: cutting takes as long as building them, and need not wait for them.
with

leaves as (

    select * from {{ ref('int_admin_leaves') }}
    where geom is not null

)

{{ geometry_parts('leaves', 'gid', 1000) }}
