-- internal_country_counts, per level: every country has its row, and the counts of all countries add up to all
-- units that lie in a country
with

by_country as (

    select
        admin_level,
        count(*) as country_count,
        sum(unit_count) as unit_count
    from {{ ref('internal_country_counts') }}
    group by admin_level

),

units as (

    select
        admin_level,
        count(*) as unit_count
    from {{ ref('admin_units') }}
    where country_gid is not null
    group by admin_level

),

countries as (

    select count(*) as country_count
    from {{ ref('admin_level_0') }}

)

select
    coalesce(by_country.admin_level, units.admin_level) as admin_level,
    by_country.country_count,
    countries.country_count as countries_loaded,
    by_country.unit_count,
    units.unit_count as units_loaded
from by_country
full outer join units
    on by_country.admin_level = units.admin_level
cross join countries
where coalesce(by_country.unit_count, 0) <> coalesce(units.unit_count, 0)
    or coalesce(by_country.country_count, 0) <> countries.country_count
