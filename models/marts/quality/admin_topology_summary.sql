with

faults as (

    select * from {{ ref('admin_topology_faults') }}

),

neighbours as (

    select * from {{ ref('admin_unit_neighbours') }}

),

units as (

    select * from {{ ref('admin_units') }}

),

levels as (

    select * from {{ ref('internal_country_counts') }}

),

faults_of_countries as (

    select
        country_gid,
        admin_level,
        fault_kind,
        other_gid,
        area_km2,
        length_km,
        width_m
    from faults

    union all

    select
        other_gid as country_gid,
        admin_level,
        fault_kind,
        other_gid,
        area_km2,
        length_km,
        width_m
    from faults
    where admin_level = 0
        and other_gid is not null

),

counts as (

    select
        country_gid,
        admin_level,
        {%- for kind in ['gap', 'overlap', 'outside_parent', 'sliver'] %}
        sum(case when fault_kind = '{{ kind }}' then 1 else 0 end) as {{ kind }}_count,
        sum(case when fault_kind = '{{ kind }}' then area_km2 else 0 end) as {{ kind }}_area_km2,
        {%- endfor %}
        sum(
            case
                when fault_kind in ('gap', 'overlap') and other_gid is not null and width_m < 100 then length_km
                else 0
            end
        ) as apart_km
    from faults_of_countries
    group by country_gid, admin_level

),

borders as (

    select
        units.country_gid,
        units.admin_level,
        -- within a country, each border is there from both sides
        sum(case when units.admin_level = 0 then neighbours.border_km else neighbours.border_km / 2 end) as border_km
    from neighbours
    inner join units
        on neighbours.gid = units.gid
    inner join units as other_units
        on neighbours.neighbour_gid = other_units.gid
    where units.admin_level = 0
        or units.country_gid = other_units.country_gid
    group by units.country_gid, units.admin_level

)

select
    levels.country_gid,
    levels.admin_level,
    {%- for kind in ['gap', 'overlap', 'outside_parent', 'sliver'] %}
    cast(coalesce(counts.{{ kind }}_count, 0) as bigint) as {{ kind }}_count,
    coalesce(counts.{{ kind }}_area_km2, 0) as {{ kind }}_area_km2,
    {%- endfor %}
    coalesce(borders.border_km, 0) as border_km,
    coalesce(counts.apart_km, 0) as apart_km,
    coalesce(counts.apart_km, 0)
    / nullif(coalesce(borders.border_km, 0) + coalesce(counts.apart_km, 0), 0) as apart_share
from levels
left join counts
    on levels.country_gid = counts.country_gid
    and levels.admin_level = counts.admin_level
left join borders
    on levels.country_gid = borders.country_gid
    and levels.admin_level = borders.admin_level
where levels.unit_count > 0
