{{ config(indexes=mart_indexes(columns=['tzid'])) }}

with

ancestors as (

    select * from {{ ref('admin_unit_ancestors') }}

),

located as (

    select
        gid,
        is_leaf,
        area_km2
    from {{ ref('int_located_units') }}

),

located_zones as (

    select * from {{ ref('int_located_unit_timezones') }}

),

-- A unit that its children do not cover speaks for itself: from there upwards, its own area counts, and not that of
-- what lies in it.
closest_uncovered as (

    select
        ancestors.gid,
        max(ancestors.ancestor_level) as admin_level
    from ancestors
    inner join located
        on ancestors.ancestor_gid = located.gid
    where not located.is_leaf
        and ancestors.distance > 0
    group by ancestors.gid

),

parts_of_units as (

    select
        ancestors.ancestor_gid as gid,
        ancestors.ancestor_level as admin_level,
        located.gid as located_gid,
        located.is_leaf,
        coalesce(ancestors.ancestor_level > closest_uncovered.admin_level, true) as has_area_counted,
        located.area_km2
    from ancestors
    inner join located
        on ancestors.gid = located.gid
    left join closest_uncovered
        on located.gid = closest_uncovered.gid

),

units as (

    select
        gid,
        admin_level,
        sum(case when is_leaf then 1 else 0 end) as leaf_count,
        sum(case when has_area_counted then area_km2 end) as area_km2
    from parts_of_units
    group by gid, admin_level

),

unit_zones as (

    select
        parts.gid,
        zones.tzid,
        sum(case when parts.is_leaf and zones.holds_point then 1 else 0 end) as leaf_count,
        sum(case when parts.has_area_counted then zones.area_km2 end) as area_km2,
        max(zones.area_share) as largest_share_of_part
    from located_zones as zones
    inner join parts_of_units as parts
        on zones.gid = parts.located_gid
    group by parts.gid, zones.tzid

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
        unit_zones.leaf_count = 0 and unit_zones.largest_share_of_part < 0.05 as is_border_sliver
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
