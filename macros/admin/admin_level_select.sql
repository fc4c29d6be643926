{#-
  The select of a mart `admin_level_N`: the rows of the level that were kept, with their resolved place in the
  hierarchy, and the names of the units above. The geometry is copied here, once; no model reads it again.
-#}
{% macro admin_level_select(level) -%}
with

staged as (

    select * from {{ staged_level(level) }}

),

lineage as (

    select * from {{ ref('int_admin_units__lineage') }}

)
{%- for ancestor in range(level) %},

units_{{ ancestor }} as (

    select
        gid,
        name
    from {{ ref('int_admin_units__lineage') }}
    where admin_level = {{ ancestor }}

)
{%- endfor %}

select
    ---------- ids
    lineage.gid,
    lineage.parent_gid,
    {%- for ancestor in range(level) %}
    lineage.gid_{{ ancestor }},
    {%- endfor %}
    lineage.country_gid,

    ---------- text
    {%- for ancestor in range(level) %}
    units_{{ ancestor }}.name as name_{{ ancestor }},
    {%- endfor %}
    staged.name,
    staged.name_local,
    staged.name_variants,
    staged.type_local,
    staged.type_english,
    staged.hasc_code,
    staged.iso_code,
    staged.cc_code,

    ---------- rights
    staged.licence,
    staged.attribution,
    staged.source_name,

    ---------- numbers
    staged.area_km2,
    staged.vertex_count,
    staged.point_lon,
    staged.point_lat,
    staged.min_lon,
    staged.min_lat,
    staged.max_lon,
    staged.max_lat,
    staged.west_lon,
    staged.east_lon,
    lineage.child_count,
    lineage.is_leaf,

    ---------- geometry
    staged.geom_hash,
    staged.geom

from lineage
inner join staged
    on {{ is_same_row('lineage', 'staged') }}
{%- for ancestor in range(level) %}
left join units_{{ ancestor }}
    on lineage.gid_{{ ancestor }} = units_{{ ancestor }}.gid
{%- endfor %}
where lineage.admin_level = {{ level }}
{%- endmacro %}
