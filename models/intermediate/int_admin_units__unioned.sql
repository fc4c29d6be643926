-- the union of all levels; instead of the geometry it has what ingest computed from it
{% for level in admin_levels() %}
select
    admin_level,
    run_id,
    release,
    file_no,
    source_file,
    source_layer,
    source_fid,
    source_rows,
    source_level,
    set_aside_reason,
    gid,
    parent_gid as source_parent_gid,
    publisher_parent_gid,
    {%- for ancestor in admin_levels()[:-1] %}
    {{ 'gid_' ~ ancestor if ancestor < level else 'cast(null as text)' }} as source_gid_{{ ancestor }},
    {%- endfor %}
    name,
    type_local,
    type_english,
    vertex_count,
    point_lon,
    area_km2,
    area_km2_in_source,
    is_valid_in_source,
    invalid_reason,
    geom_hash
from {{ staged_level(level) }}
{{ 'union all' if not loop.last }}
{% endfor %}
