{{ config(materialized='view') }}

with

lineage as (

    select * from {{ ref('int_admin_units__lineage') }}
    where is_leaf

),

staged as (
    {% for level in admin_levels() %}
    select
        source_file,
        source_fid,
        admin_level,
        area_km2,
        vertex_count,
        point_lon,
        point_lat,
        min_lon,
        min_lat,
        max_lon,
        max_lat,
        geom
    from {{ ref('stg_gadm__adm_' ~ level) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select
    lineage.gid,
    lineage.admin_level,
    staged.area_km2,
    staged.vertex_count,
    staged.point_lon,
    staged.point_lat,
    staged.min_lon,
    staged.min_lat,
    staged.max_lon,
    staged.max_lat,
    staged.geom
from lineage
inner join staged
    on lineage.admin_level = staged.admin_level
    and lineage.source_file = staged.source_file
    and lineage.source_fid = staged.source_fid
