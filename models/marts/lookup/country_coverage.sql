-- Which level of a dataset has ISO's subdivisions differs by country, so that all levels are set against their number.
with

levels as (

    select * from {{ ref('internal_country_counts') }}

),

codes as (

    select * from {{ ref('admin_unit_codes') }}

),

units as (

    select * from {{ ref('admin_units') }}

),

subdivisions as (

    select * from {{ ref('iso_subdivisions') }}
    where parent_code is null

),

country_codes as (

    select
        gid,
        code
    from codes
    where scheme = 'iso_3166_1_alpha_2'
        and admin_level = 0

),

iso_counts as (

    select
        country_alpha_2,
        count(*) as subdivision_count
    from subdivisions
    group by country_alpha_2

),

found as (

    select
        units.country_gid,
        units.admin_level,
        count(distinct subdivisions.code) as subdivision_count
    from codes
    inner join subdivisions
        on codes.code = subdivisions.code
    inner join units
        on codes.gid = units.gid
    inner join country_codes
        on units.country_gid = country_codes.gid
        and subdivisions.country_alpha_2 = country_codes.code
    where codes.scheme = 'iso_3166_2'
    group by units.country_gid, units.admin_level

)

select
    levels.country_gid,
    levels.admin_level,
    levels.country_name,
    country_codes.code as country_code,
    levels.type_local,
    levels.type_english,
    levels.unit_count,
    case when country_codes.code is not null then coalesce(iso_counts.subdivision_count, 0) end
        as iso_subdivision_count,
    case when country_codes.code is not null then coalesce(found.subdivision_count, 0) end
        as found_subdivision_count
from levels
left join country_codes
    on levels.country_gid = country_codes.gid
left join iso_counts
    on country_codes.code = iso_counts.country_alpha_2
left join found
    on levels.country_gid = found.country_gid
    and levels.admin_level = found.admin_level
where levels.admin_level > 0
