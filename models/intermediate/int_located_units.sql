{{ config(materialized='ephemeral') }}

with

located as (

    select * from {{ ref('int_admin_units__parents_resolved') }}
    where is_leaf
        or not is_covered_by_children

),

staged as (
    {% for level in admin_levels() %}
    select
        file_no,
        source_file,
        source_layer,
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
    from {{ staged_level(level) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select
    located.gid,
    located.admin_level,
    located.is_leaf,
    staged.area_km2,
    staged.vertex_count,
    staged.point_lon,
    staged.point_lat,
    staged.min_lon,
    staged.min_lat,
    staged.max_lon,
    staged.max_lat,
    staged.geom
from located
inner join staged
    on located.admin_level = staged.admin_level
    and {{ is_same_row('located', 'staged') }}
