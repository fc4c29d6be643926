{#-
  The common table expressions from `points` (point_number, lon, lat) to `answers`, one row per point, on both targets.

  The date line is one meridian with two longitudes, so a point on it is probed on both sides. NULL and NaN fail every
  `between`.
-#}
{% macro locate_answers(leaf_parts=none, zone_parts=none, schema=none) -%}
good_points as (

    select
        point_number,
        lon,
        lat
    from points
    where lon between -180 and 180
        and lat between -90 and 90

),

probes as materialized (

    select
        point_number,
        {{ point_4326('lon', 'lat') }} as point
    from good_points

    union all

    select
        point_number,
        {{ point_4326('-lon', 'lat') }} as point
    from good_points
    where abs(lon) = 180

),

{{ found_at_points('unit', 'gid', leaf_parts or schema ~ '.internal_leaf_parts') }},

-- where a unit is cut that its children do not cover, the finer unit is the answer
coarser_units as (

    select
        coarser.point_number,
        coarser.gid
    from several_units as coarser
    inner join several_units as finer
        on coarser.point_number = finer.point_number
        and coarser.gid <> finer.gid
    inner join {{ schema }}.admin_unit_ancestors as ancestors
        on coarser.gid = ancestors.ancestor_gid
        and finer.gid = ancestors.gid

),

unit_lists as (

    select
        point_number,
        array[gid] as gids
    from unit_ends
    where gid = last_gid

    union all

    select
        point_number,
        array_agg(gid order by {{ in_byte_order('gid') }}) as gids
    from several_units
    where not exists (
        select coarser_units.gid
        from coarser_units
        where coarser_units.point_number = several_units.point_number
            and coarser_units.gid = several_units.gid
    )
    group by point_number

),

{{ found_at_points('zone', 'tzid', zone_parts or schema ~ '.internal_timezone_parts') }},

zone_lists as (

    select
        point_number,
        array[tzid] as tzids
    from zone_ends
    where tzid = last_tzid

    union all

    select
        point_number,
        array_agg(tzid order by starts_with(tzid, 'Etc/'), {{ in_byte_order('tzid') }}) as tzids
    from several_zones
    group by point_number

),

chains as (

    select
        ancestors.gid,
        {%- for level in admin_levels() %}
        max(ancestors.ancestor_gid) filter (where ancestors.ancestor_level = {{ level }}) as gid_{{ level }},
        max(named.name) filter (where ancestors.ancestor_level = {{ level }}) as name_{{ level }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ schema }}.admin_unit_ancestors as ancestors
    left join {{ schema }}.admin_units as named
        on ancestors.ancestor_gid = named.gid
    where ancestors.gid in (select unit_lists.gids[1] from unit_lists)
    group by ancestors.gid

),

answers as (

    select
        points.point_number,
        case
            when good_points.point_number is null then 'bad coordinates'
            when unit_lists.gids is null then 'no unit'
            when array_length(unit_lists.gids, 1) = 1 then 'one unit'
            else 'several units'
        end as status,
        units.gid,
        units.admin_level,
        {%- for level in admin_levels() %}
        chains.gid_{{ level }},
        {%- endfor %}
        {%- for level in admin_levels() %}
        chains.name_{{ level }},
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
    left join {{ schema }}.admin_units as units
        on unit_lists.gids[1] = units.gid
    left join chains
        on units.gid = chains.gid

)
{%- endmacro %}

{#-
  The common table expressions that find what parts are at `probes`: `unit_ends` has the first and the last key at each
  point, and `several_units` all keys where these differ. At most points, they do not: an ordered list of one, or a
  search for duplicates, takes longer than to find it.
-#}
{% macro found_at_points(kind, key, parts) -%}
{{ kind }}_hits as materialized (

    select
        probes.point_number,
        parts.{{ key }}
    from probes
    inner join {{ parts }} as parts
        on st_dwithin(probes.point, parts.geom, {{ border_degrees() }})

),

{{ kind }}_ends as (

    select
        point_number,
        min({{ in_byte_order(key) }}) as {{ key }},
        max({{ in_byte_order(key) }}) as last_{{ key }}
    from {{ kind }}_hits
    group by point_number

),

several_{{ kind }}s as (

    select distinct
        {{ kind }}_hits.point_number,
        {{ kind }}_hits.{{ key }}
    from {{ kind }}_hits
    inner join {{ kind }}_ends
        on {{ kind }}_hits.point_number = {{ kind }}_ends.point_number
    where {{ kind }}_ends.{{ key }} <> {{ kind }}_ends.last_{{ key }}

)
{%- endmacro %}
