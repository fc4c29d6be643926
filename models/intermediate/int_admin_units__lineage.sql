-- From the country down, each level takes its ancestors and its path from its parent's row. A unit without a parent starts a line of its own and keeps those ancestors of its own columns
-- that exist; that they are looked up by one equality matters, since DuckDB would else compare every unit with every other.
with
{% for level in admin_levels() %}

level_{{ level }} as (

    select
        units.admin_level,
        units.release,
        units.source_file,
        units.source_fid,
        units.gid,
        units.parent_gid,
        units.parent_source,
        {%- for ancestor in admin_levels()[:-1] %}
        {%- if ancestor >= level %}
        cast(null as text) as gid_{{ ancestor }},
        {%- elif ancestor == level - 1 %}
        parents.gid as gid_{{ ancestor }},
        {%- else %}
        coalesce(parents.gid_{{ ancestor }}, known_{{ ancestor }}.gid) as gid_{{ ancestor }},
        {%- endif %}
        {%- endfor %}
        units.name,
        units.type_local,
        units.type_english,
        units.child_count,
        units.is_leaf,
        {% if level > 0 %}coalesce(parents.path || ' > ', '') || {% endif %}coalesce(units.name, units.gid) as path
    from {{ ref('int_admin_units__parents_resolved') }} as units
    {%- if level > 0 %}
    left join level_{{ level - 1 }} as parents -- noqa: LT02
        on units.parent_gid = parents.gid -- noqa: LT02
    {%- endif %}
    {%- for ancestor in range(level - 1) %}
    left join {{ ref('int_admin_units__parents_resolved') }} as known_{{ ancestor }}
        on case when units.parent_gid is null then units.source_gid_{{ ancestor }} end = known_{{ ancestor }}.gid
        and known_{{ ancestor }}.admin_level = {{ ancestor }}
    {%- endfor %}
    where units.admin_level = {{ level }}

),
{%- endfor %}

lineages as (
    {% for level in admin_levels() %}
    select * from level_{{ level }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select
    admin_level,
    release,
    source_file,
    source_fid,
    gid,
    parent_gid,
    parent_source,
    {%- for ancestor in admin_levels()[:-1] %}
    gid_{{ ancestor }},
    {%- endfor %}
    case when admin_level = 0 then gid else gid_0 end as country_gid,
    name,
    path,
    type_local,
    type_english,
    child_count,
    is_leaf
from lineages
