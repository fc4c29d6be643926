with

units as (

    select
        gid,
        area_km2,
        vertex_count,
        point_lon,
        point_lat
    from {{ ref('int_located_units') }}

),

-- materialized, so that the join below goes through the zones' parts one by one: see `meets_box_of`
zone_parts as materialized (

    select * from {{ ref('internal_timezone_parts') }}

),

-- The box of a unit's part is enough for most of them: where only one zone meets it, the part lies in that zone.
part_zones as materialized (

    select distinct
        unit_parts.gid,
        unit_parts.polygon_number,
        unit_parts.piece_number,
        zone_parts.tzid
    from zone_parts
    inner join {{ ref('internal_leaf_parts') }} as unit_parts
        on {{ meets_box_of('unit_parts', 'zone_parts') }}

),

-- of a unit without area there is a point
unit_zones as materialized (

    select
        gid,
        tzid
    from part_zones
    group by gid, tzid

    union all

    select
        units.gid,
        min(zone_parts.tzid) as tzid
    from units
    inner join {{ ref('internal_timezone_parts') }} as zone_parts
        on st_intersects(zone_parts.geom, {{ point_4326('units.point_lon', 'units.point_lat') }})
    where units.vertex_count is null
        and units.point_lon is not null
    group by units.gid

),

-- the units whose boxes several zones meet: their geometry decides
crossed as materialized (

    select gid
    from unit_zones
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
        unit_parts.gid,
        unit_parts.geom,
        st_area(unit_parts.geom) as area,
        {{ sphere_factor('unit_parts.min_lat', 'unit_parts.max_lat') }} as weight,
        zones.zone_count,
        zones.tzid
    from {{ ref('internal_leaf_parts') }} as unit_parts
    inner join crossed
        on unit_parts.gid = crossed.gid
    left join part_zone_counts as zones
        on unit_parts.gid = zones.gid
        and unit_parts.polygon_number = zones.polygon_number
        and unit_parts.piece_number = zones.piece_number

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
    inner join {{ ref('internal_timezone_parts') }} as zone_parts
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
        units.gid,
        zone_parts.tzid
    from units
    inner join crossed
        on units.gid = crossed.gid
    inner join {{ ref('internal_timezone_parts') }} as zone_parts
        on st_intersects(zone_parts.geom, {{ point_4326('units.point_lon', 'units.point_lat') }})

),

-- in millionths: what is less comes from how two publishers draw one line, or from rounding
shares as (

    select
        unit_zones.gid,
        unit_zones.tzid,
        units.area_km2 as area_km2_of_unit,
        crossed_areas.gid is null or crossed_points.gid is not null as holds_point,
        case
            when crossed_areas.gid is null then 1.0
            else least(round(1e6 * coalesce(common_areas.area, 0) / nullif(crossed_areas.area, 0)) / 1e6, 1.0)
        end as area_share
    from unit_zones
    inner join units
        on unit_zones.gid = units.gid
    left join crossed_areas
        on unit_zones.gid = crossed_areas.gid
    left join common_areas
        on unit_zones.gid = common_areas.gid
        and unit_zones.tzid = common_areas.tzid
    left join crossed_points
        on unit_zones.gid = crossed_points.gid
        and unit_zones.tzid = crossed_points.tzid

)

select
    gid,
    tzid,
    holds_point,
    area_share * area_km2_of_unit as area_km2,
    area_share
from shares
where area_share > 0
    or holds_point
