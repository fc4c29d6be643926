with

lineage as (

    select * from {{ ref('int_admin_units__lineage') }}

),

staged as (
    {% for level in admin_levels() %}
    select
        file_no,
        source_file,
        source_layer,
        source_fid,
        admin_level,
        codes
    from {{ staged_level(level) }}
    where codes is not null
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

iso_codes as (

    select
        'iso_3166_1_alpha_2' as scheme,
        alpha_2 as code
    from {{ ref('iso_countries') }}

    union all

    select
        'iso_3166_1_alpha_3' as scheme,
        alpha_3 as code
    from {{ ref('iso_countries') }}

    union all

    select
        'iso_3166_2' as scheme,
        code
    from {{ ref('iso_subdivisions') }}

),

listed as (

    select
        lineage.gid,
        lineage.admin_level,
        lineage.file_no,
        lineage.source_file,
        lineage.source_layer,
        lineage.source_fid,
        {{ parts_of('staged.codes') }} as entry
    from lineage
    inner join staged
        on lineage.admin_level = staged.admin_level
        and {{ is_same_row('lineage', 'staged') }}

),

codes as (

    select
        gid,
        admin_level,
        file_no,
        source_file,
        source_layer,
        source_fid,
        split_part(entry, '=', 1) as scheme,
        substr(entry, strpos(entry, '=') + 1) as code
    from listed

)

select
    codes.gid,
    codes.scheme,
    codes.code,
    codes.admin_level,
    codes.file_no,
    codes.source_file,
    codes.source_layer,
    codes.source_fid,
    -- publishers invent codes for what ISO has none for: `MC-X01~`
    iso_codes.code is not null or codes.scheme not like 'iso_%' as is_known
from codes
left join iso_codes
    on codes.scheme = iso_codes.scheme
    and codes.code = iso_codes.code
