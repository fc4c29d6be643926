{{ config(indexes=mart_indexes(columns=['tzid'])) }}

with

leaves as (

    select
        gid,
        area_km2,
        point_lon,
        point_lat
    from {{ ref('int_admin_leaves') }}

),

zone_parts as materialized (

    select * from {{ ref('timezone_parts') }}

),

-- Boxes of the leaves' parts against the zones: enough for most. Where one zone alone meets the box of a part, the part lies in it.
part_zones as materialized (

    select distinct
        leaf_parts.gid,
        leaf_parts.polygon_number,
        leaf_parts.piece_number,
        zone_parts.tzid
    from zone_parts
    inner join {{ ref('admin_leaf_parts') }} as leaf_parts
        on {{ meets_box_of('leaf_parts', 'zone_parts') }}

),

leaf_zones as materialized (

    select
        gid,
        tzid
    from part_zones
    group by gid, tzid

),

crossed as materialized (

    select gid
    from leaf_zones
    group by gid
    having count(*) > 1

),

part_zone_counts as (

    select
        gid,
        polygon_number,
        piece_number,
        count(*) as zone_count,
        min(tzid) as tzid
    from part_zones
    group by gid, polygon_number, piece_number

),

-- An area is weighed by the latitude of the leaf's part.
crossed_parts as materialized (

    select
        leaf_parts.gid,
        leaf_parts.geom,
        st_area(leaf_parts.geom) as area,
        {{ sphere_factor('leaf_parts.min_lat', 'leaf_parts.max_lat') }} as weight,
        zones.zone_count,
        zones.tzid
    from {{ ref('admin_leaf_parts') }} as leaf_parts
    inner join crossed
        on leaf_parts.gid = crossed.gid
    left join part_zone_counts as zones
        on leaf_parts.gid = zones.gid
        and leaf_parts.polygon_number = zones.polygon_number
        and leaf_parts.piece_number = zones.piece_number

),

common_areas as (

    select
        gid,
        tzid,
        sum(area) as area
    from (
        select
            gid,
            tzid,
            weight * area as area
        from crossed_parts
        where zone_count = 1

        union all

        select
            crossed_parts.gid,
            zone_parts.tzid,
            crossed_parts.weight * st_area(st_intersection(crossed_parts.geom, zone_parts.geom)) as area
        from crossed_parts
        inner join {{ ref('timezone_parts') }} as zone_parts
            on st_intersects(zone_parts.geom, crossed_parts.geom)
        where crossed_parts.zone_count > 1
    ) as areas
    group by gid, tzid

),

crossed_areas as (

    select
        gid,
        sum(weight * area) as area
    from crossed_parts
    group by gid

),

crossed_points as (

    select distinct
        leaves.gid,
        zone_parts.tzid
    from leaves
    inner join crossed
        on leaves.gid = crossed.gid
    inner join {{ ref('timezone_parts') }} as zone_parts
        on st_intersects(zone_parts.geom, {{ point_4326('leaves.point_lon', 'leaves.point_lat') }})

),

leaf_shares as (

    select
        leaf_zones.gid,
        leaf_zones.tzid,
        leaves.area_km2,
        case when crossed_areas.gid is null or crossed_points.gid is not null then 1 else 0 end as holds_point,
        case
            when crossed_areas.gid is null then 1.0
            else least(round(1e6 * coalesce(common_areas.area, 0) / nullif(crossed_areas.area, 0)) / 1e6, 1.0)
        end as area_share
    from leaf_zones
    inner join leaves
        on leaf_zones.gid = leaves.gid
    left join crossed_areas
        on leaf_zones.gid = crossed_areas.gid
    left join common_areas
        on leaf_zones.gid = common_areas.gid
        and leaf_zones.tzid = common_areas.tzid
    left join crossed_points
        on leaf_zones.gid = crossed_points.gid
        and leaf_zones.tzid = crossed_points.tzid

),

units as (

    select
        ancestors.ancestor_gid as gid,
        ancestors.ancestor_level as admin_level,
        count(*) as leaf_count,
        sum(leaves.area_km2) as area_km2
    from {{ ref('admin_unit_ancestors') }} as ancestors
    inner join leaves
        on ancestors.gid = leaves.gid
    group by ancestors.ancestor_gid, ancestors.ancestor_level

),

unit_zones as (

    select
        ancestors.ancestor_gid as gid,
        leaf_shares.tzid,
        sum(leaf_shares.holds_point) as leaf_count,
        sum(leaf_shares.area_share * leaf_shares.area_km2) as area_km2,
        max(leaf_shares.area_share) as largest_share_of_leaf
    from leaf_shares
    inner join {{ ref('admin_unit_ancestors') }} as ancestors
        on leaf_shares.gid = ancestors.gid
    where leaf_shares.area_share > 0
        or leaf_shares.holds_point = 1
    group by ancestors.ancestor_gid, leaf_shares.tzid

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
