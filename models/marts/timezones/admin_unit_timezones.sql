{{ config(indexes=mart_indexes(columns=['tzid'])) }}

with

ancestors as (

    select * from {{ ref('admin_unit_ancestors') }}

),

leaves as (

    select * from {{ ref('int_admin_leaves') }}

),

leaf_zones as (

    select * from {{ ref('int_leaf_timezones') }}

),

units as (

    select
        ancestors.ancestor_gid as gid,
        ancestors.ancestor_level as admin_level,
        count(*) as leaf_count,
        sum(leaves.area_km2) as area_km2
    from ancestors
    inner join leaves
        on ancestors.gid = leaves.gid
    group by ancestors.ancestor_gid, ancestors.ancestor_level

),

unit_zones as (

    select
        ancestors.ancestor_gid as gid,
        leaf_zones.tzid,
        sum(case when leaf_zones.holds_point then 1 else 0 end) as leaf_count,
        sum(leaf_zones.area_km2) as area_km2,
        max(leaf_zones.area_share) as largest_share_of_leaf
    from leaf_zones
    inner join ancestors
        on leaf_zones.gid = ancestors.gid
    group by ancestors.ancestor_gid, leaf_zones.tzid

),

shares as (

    select
        unit_zones.gid,
        unit_zones.tzid,
        units.admin_level,
        unit_zones.leaf_count,
        cast(unit_zones.leaf_count as double precision) / units.leaf_count as leaf_share,
        unit_zones.area_km2,
        round(1e6 * unit_zones.area_km2 / nullif(units.area_km2, 0)) / 1e6 as area_share,
        unit_zones.leaf_count = 0 and unit_zones.largest_share_of_leaf < 0.05 as is_border_sliver
    from unit_zones
    inner join units
        on unit_zones.gid = units.gid

)

select
    gid,
    tzid,
    admin_level,
    row_number() over (
        partition by gid
        order by coalesce(area_share, 0) desc, leaf_count desc, {{ in_byte_order('tzid') }}
    ) = 1 as is_primary,
    is_border_sliver,
    cast(leaf_count as bigint) as leaf_count,
    leaf_share,
    area_km2,
    area_share
from shares
