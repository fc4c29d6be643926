{#-
  The select of the units of a release as they are compared with those of another: the lineage, with what ingest
  computed from the geometry. In a model that reads the run before, it is made of that. Empty if there is none.
-#}
{% macro compared_units() -%}
with
{% if reads_run_before() %}
{{ made_of_run_before(['int_admin_units__lineage']) }}
{% endif %}
units as (

    select
        lineage.admin_level,
        lineage.release,
        lineage.file_no,
        lineage.source_file,
        lineage.source_layer,
        lineage.source_fid,
        lineage.gid,
        lineage.parent_gid,
        lineage.country_gid,
        {%- for ancestor in admin_levels()[:-1] %}
        lineage.gid_{{ ancestor }},
        {%- endfor %}
        lineage.name,
        lineage.is_leaf,
        lineage.is_leaf or not resolved.is_covered_by_children as is_located,
        staged.area_km2,
        staged.geom_hash
    from {{ ref('int_admin_units__lineage') }} as lineage
    inner join {{ ref('int_admin_units__parents_resolved') }} as resolved
        on lineage.gid = resolved.gid
    inner join {{ ref('int_admin_units__unioned') }} as staged
        on lineage.admin_level = staged.admin_level
        and {{ is_same_row('lineage', 'staged') }}
    {%- if not execute or run_before(boundaries()).run_id is none %}
    where false
    {%- endif %}

)

select * from units
{%- endmacro %}

{#-
  The select of the areas of the units that are located by their own geometry in one of the releases, with whether the
  other one has no unit of that geometry. Which units these are is found first, and looked up in each level by itself:
  so DuckDB knows while it reads a level which rows are wanted of it, and passes over most of the geometry.
-#}
{% macro compared_areas(units, others) -%}
with
{% if reads_run_before() %}
{{ made_of_run_before(names_of_staged_levels()) }}
{% endif %}
other_shapes as (

    select distinct geom_hash
    from {{ others }}

),

located_others as (

    select gid
    from {{ others }}
    where is_located

),

wanted as (

    select
        units.gid,
        units.admin_level,
        units.file_no,
        units.source_file,
        units.source_layer,
        units.source_fid,
        other_shapes.geom_hash is null as is_changed
    from {{ units }} as units
    left join other_shapes
        on units.geom_hash = other_shapes.geom_hash
    left join located_others
        on units.gid = located_others.gid
    where units.is_located
        or located_others.gid is not null

)

{% for level in admin_levels() -%}
select
    wanted.gid,
    wanted.is_changed,
    staged.geom
from wanted
inner join {{ staged_level(level) }} as staged
    on {{ is_same_row('wanted', 'staged') }}
where wanted.admin_level = {{ level }}
{{ 'union all' if not loop.last }}
{% endfor -%}
{%- endmacro %}
