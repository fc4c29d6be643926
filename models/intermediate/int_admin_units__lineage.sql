-- From the country down, a unit takes its ancestors and its path from its parent's row, so that all of them agree with
-- `parent_gid`. A unit without a parent starts a line of its own, and keeps those ancestors of its own columns that
-- exist.
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

select
    units.admin_level,
    units.release,
    units.file_no,
    units.source_file,
    units.source_layer,
    units.source_fid,
    units.gid,
    units.parent_gid,
    units.parent_source,
    {%- for ancestor in admin_levels()[:-1] %}
    lineage.gid_{{ ancestor }},
    {%- endfor %}
    case units.admin_level when 0 then units.gid else lineage.gid_0 end as country_gid,
    units.name,
    lineage.path,
    units.type_local,
    units.type_english,
    units.area_km2,
    units.child_count,
    units.is_leaf,
    units.children_area_share,
    units.geom_hash
from {{ ref('int_admin_units__parents_resolved') }} as units
inner join lineage
    on units.gid = lineage.gid
