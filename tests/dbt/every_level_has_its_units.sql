-- admin_units, per level: holds exactly the units of the tables admin_level_0 to admin_level_5
with

narrow as (

    select
        admin_level,
        count(*) as unit_count
    from {{ ref('admin_units') }}
    group by admin_level

),

wide as (

    select
        admin_level,
        rows_in_mart as unit_count
    from {{ ref('internal_level_counts') }}
    where rows_in_mart > 0

)

select
    coalesce(narrow.admin_level, wide.admin_level) as admin_level,
    narrow.unit_count as units_in_admin_units,
    wide.unit_count as units_in_admin_level_table
from narrow
full outer join wide
    on narrow.admin_level = wide.admin_level
where narrow.unit_count is distinct from wide.unit_count
