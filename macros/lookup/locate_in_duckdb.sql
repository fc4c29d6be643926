{#-
  Two table macros. `locate` takes a point, and reads only the parts whose box holds it. `locate_points` takes the name of a table with `point_number`, `lon` and `lat`, and gives its answers by `point_number`: DuckDB builds an
  R-tree over the points.
-#}
{% macro locate_in_duckdb() %}
create or replace macro marts.locate(lon, lat) as table
with

points as (

    select
        1 as point_number,
        cast(lon as double) as lon,
        cast(lat as double) as lat

),

{{ probes_in_duckdb() }},

found_units as (

    select distinct
        1 as point_number,
        parts.gid
    from (
        select gid, geom
        from marts.admin_leaf_parts
        where {{ box_holds_probe_in_duckdb('admin_leaf_parts') }}
    ) as parts
    inner join probes
        on st_dwithin(probes.point, parts.geom, {{ border_degrees() }})

),

found_zones as (

    select distinct
        1 as point_number,
        parts.tzid
    from (
        select tzid, geom
        from marts.timezone_parts
        where {{ box_holds_probe_in_duckdb('timezone_parts') }}
    ) as parts
    inner join probes
        on st_dwithin(probes.point, parts.geom, {{ border_degrees() }})

),

{{ answers_in_duckdb() }}

select * exclude (point_number)
from answers;

create or replace macro marts.locate_points(points_table) as table
with

points as (

    select
        point_number,
        lon,
        lat
    from query_table(points_table)

),

{{ probes_in_duckdb() }},

found_units as (

    select distinct
        probes.point_number,
        parts.gid
    from probes
    inner join marts.admin_leaf_parts as parts
        on st_dwithin(probes.point, parts.geom, {{ border_degrees() }})

),

found_zones as (

    select distinct
        probes.point_number,
        parts.tzid
    from probes
    inner join marts.timezone_parts as parts
        on st_dwithin(probes.point, parts.geom, {{ border_degrees() }})

),

{{ answers_in_duckdb() }}

select *
from answers
order by point_number;
{% endmacro %}

{#- The date line is one meridian with two longitudes. NULL is not between anything; NaN is made so. -#}
{% macro probes_in_duckdb() -%}
good_points as (

    select
        point_number,
        lon,
        lat
    from points
    where not isnan(lon)
        and not isnan(lat)
        and lon between -180 and 180
        and lat between -90 and 90

),

probes as materialized (

    select
        point_number,
        st_point(lon, lat) as point
    from good_points

    union all

    select
        point_number,
        st_point(-lon, lat) as point
    from good_points
    where abs(lon) = 180

)
{%- endmacro %}

{% macro box_holds_probe_in_duckdb(parts) -%}
(lon between {{ parts }}.min_lon - {{ border_degrees() }} and {{ parts }}.max_lon + {{ border_degrees() }} or abs(lon) = 180)
            and lat between {{ parts }}.min_lat - {{ border_degrees() }} and {{ parts }}.max_lat + {{ border_degrees() }}
{%- endmacro %}

{% macro answers_in_duckdb() -%}
unit_lists as (

    select
        point_number,
        list(gid order by gid) as gids
    from found_units
    group by point_number

),

zone_lists as (

    select
        point_number,
        list(tzid order by starts_with(tzid, 'Etc/'), tzid) as tzids
    from found_zones
    group by point_number

),

chains as (

    select
        gid,
        {%- for level in admin_levels() %}
        max(ancestor_gid) filter (where ancestor_level = {{ level }}) as gid_{{ level }}{{ ',' if not loop.last }}
        {%- endfor %}
    from marts.admin_unit_ancestors
    where gid in (select gids[1] from unit_lists)
    group by gid

),

answers as (

    select
        points.point_number,
        case
            when good_points.point_number is null then 'bad coordinates'
            when unit_lists.gids is null then 'no unit'
            when len(unit_lists.gids) = 1 then 'one unit'
            else 'several units'
        end as status,
        units.gid,
        units.admin_level,
        {%- for level in admin_levels() %}
        chains.gid_{{ level }},
        {%- endfor %}
        units.path,
        unit_lists.gids,
        zone_lists.tzids[1] as tzid,
        zone_lists.tzids
    from points
    left join good_points
        on points.point_number = good_points.point_number
    left join unit_lists
        on points.point_number = unit_lists.point_number
    left join zone_lists
        on points.point_number = zone_lists.point_number
    left join marts.admin_units as units
        on unit_lists.gids[1] = units.gid
    left join chains
        on units.gid = chains.gid

)
{%- endmacro %}
