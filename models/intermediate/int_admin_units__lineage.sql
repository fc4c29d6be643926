-- From the country down, a unit takes its ancestors and its path from its parent's row, so that all of them agree with
-- `parent_gid`. A unit without a parent starts a line of its own, and keeps those ancestors of its own columns that
-- exist.
{{ lines_of_ancestors() }}

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
