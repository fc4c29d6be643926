{{ config(indexes=mart_indexes(columns=['code'])) }}

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

listed as (

    select
        lineage.gid,
        lineage.admin_level,
        unnest(string_to_array(staged.codes, '|')) as entry
    from lineage
    inner join staged
        on lineage.admin_level = staged.admin_level
        and {{ is_same_row('lineage', 'staged') }}

),

codes as (

    select
        gid,
        split_part(entry, '=', 1) as scheme,
        substr(entry, strpos(entry, '=') + 1) as code,
        admin_level
    from listed

)

select
    gid,
    scheme,
    code,
    admin_level
from codes
-- publishers invent codes for what ISO has none for: `MC-X01~`
where (scheme <> 'iso_3166_1_alpha_2' or {{ matches_regex('code', '^[A-Z]{2}$') }})
    and (scheme <> 'iso_3166_1_alpha_3' or {{ matches_regex('code', '^[A-Z]{3}$') }})
    and (scheme <> 'iso_3166_2' or {{ matches_regex('code', '^[A-Z]{2}-[A-Z0-9]{1,3}$') }})
