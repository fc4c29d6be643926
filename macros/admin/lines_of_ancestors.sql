{#- The common table expressions that give each unit its ancestors and its path: `lineage`. -#}
{% macro lines_of_ancestors() -%}
    {{- return(adapter.dispatch('lines_of_ancestors')()) -}}
{%- endmacro %}

{% macro default__lines_of_ancestors() -%}
with recursive

lineage as (

    select
        units.gid,
        units.admin_level,
        {%- for ancestor in admin_levels()[:-1] %}
        known_{{ ancestor }}.gid as gid_{{ ancestor }},
        {%- endfor %}
        coalesce(units.name, units.gid) as path
    from {{ ref('int_admin_units__parents_resolved') }} as units
    {%- for ancestor in admin_levels()[:-1] %}
    left join {{ ref('int_admin_units__parents_resolved') }} as known_{{ ancestor }} -- noqa: LT02
        on units.source_gid_{{ ancestor }} = known_{{ ancestor }}.gid -- noqa: LT02
        and known_{{ ancestor }}.admin_level = {{ ancestor }} -- noqa: LT02
    {%- endfor %}
    where units.parent_gid is null

    union all

    select
        units.gid,
        units.admin_level,
        {%- for ancestor in admin_levels()[:-1] %}
        case when parents.admin_level = {{ ancestor }} then parents.gid else parents.gid_{{ ancestor }} end
            as gid_{{ ancestor }},
        {%- endfor %}
        parents.path || ' > ' || coalesce(units.name, units.gid) as path
    from lineage as parents
    inner join {{ ref('int_admin_units__parents_resolved') }} as units
        on parents.gid = units.parent_gid

)
{%- endmacro %}

{#-
  Spark has no recursion. A line is no longer than there are levels, and is followed upwards: to the parent, its parent
  and so on, up to the unit at which it begins.
-#}
{% macro spark__lines_of_ancestors() -%}
{%- set steps = range(1, admin_levels() | length) -%}
with

lines as (

    select
        units.gid,
        {%- for ancestor in admin_levels()[:-1] %}
        coalesce(
            {%- for step in steps %}
            case when parents_{{ step }}.admin_level = {{ ancestor }} then parents_{{ step }}.gid end
            {{- ',' if not loop.last }}
            {%- endfor %}
        ) as gid_{{ ancestor }},
        {%- endfor %}
        concat_ws(
            ' > '
            {%- for step in steps | reverse %},
            coalesce(parents_{{ step }}.name, parents_{{ step }}.gid)
            {%- endfor %},
            coalesce(units.name, units.gid)
        ) as path,
        coalesce(
            {%- for step in steps | reverse %}
            parents_{{ step }}.gid,
            {%- endfor %}
            units.gid
        ) as first_gid
    from {{ ref('int_admin_units__parents_resolved') }} as units
    {%- for step in steps %}
    left join {{ ref('int_admin_units__parents_resolved') }} as parents_{{ step }}
        on {{ 'units' if loop.first else 'parents_' ~ (step - 1) }}.parent_gid = parents_{{ step }}.gid
    {%- endfor %}

),

-- a unit without a parent, with those ancestors of its own columns that exist
firsts as (

    select
        units.gid
        {%- for ancestor in admin_levels()[:-1] %},
        known_{{ ancestor }}.gid as gid_{{ ancestor }}
        {%- endfor %}
    from {{ ref('int_admin_units__parents_resolved') }} as units
    {%- for ancestor in admin_levels()[:-1] %}
    left join {{ ref('int_admin_units__parents_resolved') }} as known_{{ ancestor }}
        on units.source_gid_{{ ancestor }} = known_{{ ancestor }}.gid
        and known_{{ ancestor }}.admin_level = {{ ancestor }}
    {%- endfor %}
    where units.parent_gid is null

),

lineage as (

    select
        lines.gid,
        {%- for ancestor in admin_levels()[:-1] %}
        coalesce(lines.gid_{{ ancestor }}, firsts.gid_{{ ancestor }}) as gid_{{ ancestor }},
        {%- endfor %}
        lines.path
    from lines
    inner join firsts
        on lines.first_gid = firsts.gid

)
{%- endmacro %}
