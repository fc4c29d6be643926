-- admin_units_history: its current rows are the units, each row ends after it began, and a release ended it
with

current_rows as (

    select
        gid,
        admin_level,
        parent_gid,
        country_gid,
        name
    from {{ ref('admin_units_history') }}
    where valid_to is null

),

units as (

    select
        gid,
        admin_level,
        parent_gid,
        country_gid,
        name
    from {{ ref('admin_units') }}

)

(
    select gid from (
        select * from current_rows
        except
        select * from units
    ) as gone
)
union all
(
    select gid from (
        select * from units
        except
        select * from current_rows
    ) as missing
)
union all
select gid
from {{ ref('admin_units_history') }}
where valid_to <= valid_from
    or (valid_to is null) <> (release_to is null)
