-- admin_unit_ancestors, per row: the ancestor is the unit itself at distance 0, its parent if no other is closer, its
-- country at level 0; distance is the difference of levels. Then, over all rows: none of these is missing. (Its
-- primary key rules out duplicates.)
with

closest as (

    select
        gid,
        min(distance) as distance
    from {{ ref('admin_unit_ancestors') }}
    where distance > 0
    group by gid

),

compared as (

    select
        ancestors.gid,
        ancestors.ancestor_gid,
        ancestors.ancestor_level,
        ancestors.distance,
        units.parent_gid,
        units.country_gid,
        coalesce(ancestors.distance = closest.distance, false) as is_closest,
        ancestors.admin_level = units.admin_level
        and ancestors.distance = units.admin_level - ancestors.ancestor_level
        and ancestors.distance >= 0
        and (ancestors.distance > 0 or ancestors.ancestor_gid = units.gid)
        and (
            ancestors.distance <> coalesce(closest.distance, -1)
            or ancestors.ancestor_gid = units.parent_gid
            or units.parent_gid is null
        )
        and (ancestors.ancestor_level > 0 or ancestors.ancestor_gid = units.country_gid) as is_right
    from {{ ref('admin_unit_ancestors') }} as ancestors
    inner join {{ ref('admin_units') }} as units
        on ancestors.gid = units.gid
    left join closest
        on ancestors.gid = closest.gid

),

present as (

    select
        sum(case when distance = 0 then 1 else 0 end) as self_count,
        sum(case when is_closest and parent_gid is not null then 1 else 0 end) as parent_count,
        sum(case when ancestor_level = 0 then 1 else 0 end) as country_count,
        sum(case when is_right then 0 else 1 end) as wrong_count
    from compared

),

wanted as (

    select
        count(*) as self_count,
        count(parent_gid) as parent_count,
        count(country_gid) as country_count
    from {{ ref('admin_units') }}

)

select
    present.self_count,
    wanted.self_count as wanted_self_count,
    present.parent_count,
    wanted.parent_count as wanted_parent_count,
    present.country_count,
    wanted.country_count as wanted_country_count,
    present.wrong_count
from present
cross join wanted
where present.self_count <> wanted.self_count
    or present.parent_count <> wanted.parent_count
    or present.country_count <> wanted.country_count
    or present.wrong_count > 0
