{{ config(indexes=mart_indexes(geometry='geom')) }}

-- built after the units, which its foreign key refers to
-- depends_on: {{ ref('admin_units') }}

with

leaves as (
    {% for level in admin_levels() %}
    select
        gid,
        vertex_count,
        min_lon,
        min_lat,
        max_lon,
        max_lat,
        geom
    from {{ ref('admin_level_' ~ level) }}
    where is_leaf
        and geom is not null
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

{{ geometry_parts('leaves', 'gid') }}
