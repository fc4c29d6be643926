-- How deep does each country go, and what is a level called there?
select
    country_name,
    admin_level,
    unit_count,
    type_local,
    type_english
from marts.country_coverage
where unit_count > 0
order by country_name, admin_level
