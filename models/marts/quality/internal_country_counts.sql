-- Countries are ragged: some end at level 1, others at level 5. Every country has a row for every level, so that none
-- vanishes from a join.
with

units as (

    select * from {{ ref('int_admin_units__lineage') }}

),

countries as (

    select * from {{ ref('admin_level_0') }}

),

levels as (
    {% for level in admin_levels() %}
    select {{ level }} as admin_level
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

counts as (

    select
        country_gid,
        admin_level,
        count(*) as unit_count,
        sum(case when is_leaf then 1 else 0 end) as leaf_count
    from units
    group by country_gid, admin_level

),

types as (

    select
        country_gid,
        admin_level,
        type_local,
        type_english,
        row_number() over (
            partition by country_gid, admin_level
            -- by a hash where two are equally frequent: how texts sort depends on the server
            order by count(*) desc, md5(coalesce(type_english, '') || ' ' || coalesce(type_local, ''))
        ) as place
    from units
    where type_local is not null
        or type_english is not null
    group by country_gid, admin_level, type_local, type_english

),

deepest_levels as (

    select
        country_gid,
        max(admin_level) as admin_level
    from units
    group by country_gid

)

select
    countries.gid as country_gid,
    levels.admin_level,
    countries.name as country_name,
    types.type_local,
    types.type_english,
    coalesce(counts.unit_count, 0) as unit_count,
    cast(coalesce(counts.leaf_count, 0) as bigint) as leaf_count,
    levels.admin_level = deepest_levels.admin_level as is_deepest_level
from countries
cross join levels
left join counts
    on countries.gid = counts.country_gid
    and levels.admin_level = counts.admin_level
left join types
    on countries.gid = types.country_gid
    and levels.admin_level = types.admin_level
    and types.place = 1
left join deepest_levels
    on countries.gid = deepest_levels.country_gid
