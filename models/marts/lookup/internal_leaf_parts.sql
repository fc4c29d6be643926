{{ config(indexes=mart_indexes(geometry='geom')) }}

-- Reads staging, so that cutting, which takes as long as building the marts of the levels, runs beside them.
with

located_units as (

    select * from {{ ref('int_located_units') }}
    where geom is not null

)

{{ geometry_parts('located_units', 'gid', 1000) }}
