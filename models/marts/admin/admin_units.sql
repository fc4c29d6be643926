{{ config(indexes=mart_indexes(columns=['parent_gid', 'country_gid'])) }}

with

lineage as (

    select * from {{ ref('int_admin_units__lineage') }}

),

disputed_areas as (

    select * from {{ ref('disputed_areas') }}
    where dataset = '{{ boundaries() }}'

)

select
    lineage.gid,
    lineage.admin_level,
    lineage.parent_gid,
    lineage.country_gid,
    lineage.name,
    lineage.path,
    lineage.area_km2,
    lineage.child_count,
    lineage.is_leaf,
    lineage.children_area_share,
    lineage.geom_hash,
    lineage.parent_source,
    lineage.parent_source in ('repair seed', 'key') as has_repaired_parent,
    disputed_areas.gid is not null as is_disputed,
    lineage.release,
    lineage.file_no,
    lineage.source_file,
    lineage.source_layer,
    lineage.source_fid
from lineage
left join disputed_areas
    on lineage.country_gid = disputed_areas.gid
