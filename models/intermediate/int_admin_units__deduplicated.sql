with

units as (

    select * from {{ ref('int_admin_units__unioned') }}

),

set_aside as (

    select * from {{ ref('int_admin_units__set_aside') }}

),

kept as (

    select
        units.*,
        {{ key_stem('units.gid') }} as key_stem
    from units
    left join set_aside
        on units.admin_level = set_aside.admin_level
        and {{ is_same_row('units', 'set_aside') }}
    where set_aside.source_fid is null

)

select
    admin_level,
    release,
    file_no,
    source_file,
    source_layer,
    source_fid,
    gid,
    key_stem,
    {{ parent_key_stem('key_stem') }} as parent_key_stem,
    {{ is_malformed_key('gid', 'admin_level') }} as is_malformed_key,
    source_parent_gid,
    publisher_parent_gid,
    {%- for ancestor in admin_levels()[:-1] %}
    source_gid_{{ ancestor }},
    {%- endfor %}
    name,
    type_local,
    type_english,
    area_km2,
    geom_hash
from kept
