{{ config(indexes=mart_indexes(columns=['code'])) }}

with

codes as (

    select * from {{ ref('int_admin_unit_codes') }}
    where is_known

),

units as (

    select * from {{ ref('int_admin_units__lineage') }}

),

countries as (

    select * from {{ ref('iso_countries') }}

),

-- one code of a country proves the other, and a key may be one: `TGO`, and `CHN.HKG` for what has a code of its own
-- within a country
proofs as (

    select
        gid,
        admin_level,
        code,
        case scheme when 'iso_3166_1_alpha_3' then 1 else 2 end as place
    from codes
    where scheme in ('iso_3166_1_alpha_2', 'iso_3166_1_alpha_3')

    union all

    select
        gid,
        admin_level,
        right(gid, 3) as code,
        3 as place
    from units
    where admin_level <= 1
        and {{ matches_regex('gid', '^([A-Z]{3}[.])?[A-Z]{3}$') }}

),

proved as (

    select
        proofs.gid,
        proofs.admin_level,
        countries.alpha_2,
        countries.alpha_3,
        row_number() over (partition by proofs.gid order by proofs.place) as place
    from proofs
    inner join countries
        on proofs.code in (countries.alpha_2, countries.alpha_3)

),

listed as (

    select
        gid,
        scheme,
        code,
        admin_level,
        1 as place
    from codes
    {%- for scheme in ['alpha_2', 'alpha_3'] %}

    union all

    select
        gid,
        'iso_3166_1_{{ scheme }}' as scheme,
        {{ scheme }} as code,
        admin_level,
        2 as place
    from proved
    where place = 1
    {%- endfor %}

),

ranked as (

    select
        *,
        row_number() over (partition by gid, scheme order by place) as rank_in_scheme
    from listed

)

select
    gid,
    scheme,
    code,
    admin_level
from ranked
where rank_in_scheme = 1
