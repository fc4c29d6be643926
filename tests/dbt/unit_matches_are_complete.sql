-- unit_matches, per unit of either dataset: it is in one row, and no row has a unit that its dataset does not have
{{ config(enabled=var('concordance', []) != []) }}

with

matches as (

    select * from {{ ref('unit_matches') }}

),

units as (

    select
        'gid' as side,
        gid
    from {{ ref('admin_units') }}

    union all

    select
        'other_gid' as side,
        gid
    from {{ source('other_marts', 'admin_units') }}

),

matched as (

    select
        'gid' as side,
        gid
    from matches
    where gid is not null

    union all

    select
        'other_gid' as side,
        other_gid as gid
    from matches
    where other_gid is not null

)

select
    coalesce(units.side, matched.side) as side,
    coalesce(units.gid, matched.gid) as gid,
    count(matched.gid) as row_count
from units
full join matched
    on units.side = matched.side
    and units.gid = matched.gid
group by units.side, matched.side, units.gid, matched.gid
having units.gid is null
    or count(matched.gid) <> 1
