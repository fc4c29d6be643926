with

leaves as (

    select * from {{ ref('int_admin_leaves') }}

),

-- materialized, so that the join below goes through the zones' parts one by one: see `meets_box_of`
zone_parts as materialized (

    select * from {{ ref('timezone_parts') }}

),

-- The box of a leaf's part is enough for most of them: where only one zone meets it, the part lies in that zone.
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

-- the leaves whose boxes several zones meet: their geometry decides
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

-- Square degrees become comparable over latitudes by the weight of the part that they lie in.
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

areas_by_part as (

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

),

common_areas as (

    select
        gid,
        tzid,
        sum(area) as area
    from areas_by_part
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

-- in millionths: what is less comes from how two publishers draw one line, or from rounding
shares as (

    select
        leaf_zones.gid,
        leaf_zones.tzid,
        leaves.area_km2 as area_km2_of_leaf,
        crossed_areas.gid is null or crossed_points.gid is not null as holds_point,
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

)

select
    gid,
    tzid,
    holds_point,
    area_share * area_km2_of_leaf as area_km2,
    area_share
from shares
where area_share > 0
    or holds_point
