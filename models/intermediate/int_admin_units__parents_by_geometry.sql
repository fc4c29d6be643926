-- The inner point of a unit lies within it, so it lies in one unit of the level above, if the two levels fit. Only
-- where the publisher names no parents at all: a column that is there is never overruled.
{%- for level in admin_levels() %}
-- depends_on: {{ staged_level(level) }}
{%- endfor %}
{%- set levels = levels_with('has_parents_by_geometry') %}
with

children as (
    {% for level in levels %}
    select
        {{ level }} as admin_level,
        gid,
        gid_0 as country_key,
        point_lon,
        point_lat
    from {{ staged_level(level) }}
    {{ 'union all' if not loop.last }}
    {%- else %}
    select
        cast(null as integer) as admin_level,
        cast(null as text) as gid,
        cast(null as text) as country_key,
        cast(null as double precision) as point_lon,
        cast(null as double precision) as point_lat
    where false
    {%- endfor %}

),

possible_parents as (
    {% for level in levels %}
    select
        {{ level }} as admin_level_of_children,
        gid,
        {{ 'gid' if level == 1 else 'gid_0' }} as country_key,
        min_lon,
        min_lat,
        max_lon,
        max_lat,
        geom
    from {{ staged_level(level - 1) }}
    {{ 'union all' if not loop.last }}
    {%- else %}
    select
        cast(null as integer) as admin_level_of_children,
        cast(null as text) as gid,
        cast(null as text) as country_key,
        cast(null as double precision) as min_lon,
        cast(null as double precision) as min_lat,
        cast(null as double precision) as max_lon,
        cast(null as double precision) as max_lat,
        {{ no_geometry() }} as geom
    where false
    {%- endfor %}

)

select
    children.admin_level,
    children.gid,
    min(possible_parents.gid) as parent_gid
from children
inner join possible_parents
    on children.admin_level = possible_parents.admin_level_of_children
    and children.country_key = possible_parents.country_key
    and children.point_lon between possible_parents.min_lon and possible_parents.max_lon
    and children.point_lat between possible_parents.min_lat and possible_parents.max_lat
    and st_intersects(possible_parents.geom, {{ point_4326('children.point_lon', 'children.point_lat') }})
group by children.admin_level, children.gid
having count(distinct possible_parents.gid) = 1
