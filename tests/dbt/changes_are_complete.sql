-- Every unit of either release is in one row, and one with an area in the crosswalk, too.
with

changes as (

    select * from {{ ref('admin_unit_changes') }}

),

crosswalk as (

    select * from {{ ref('admin_unit_crosswalk') }}

),

units as (

    select
        'from' as unit_of,
        gid,
        area_km2
    from {{ ref('int_units_before') }}

    union all

    select
        'to' as unit_of,
        gid,
        area_km2
    from {{ ref('int_units_now') }}

),

places as (
    {% for side in ['from', 'to'] %}
    select
        '{{ side }}' as unit_of,
        {{ side }}_gid as gid,
        1 as change_count,
        0 as crosswalk_count
    from changes
    where unit_of in ('both', '{{ side }}')

    union all

    select
        '{{ side }}' as unit_of,
        {{ side }}_gid as gid,
        0 as change_count,
        1 as crosswalk_count
    from crosswalk
    where {{ side }}_level = admin_level
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

counts as (

    select
        unit_of,
        gid,
        sum(change_count) as change_count,
        sum(crosswalk_count) as crosswalk_count
    from places
    group by unit_of, gid

)

select
    units.unit_of,
    units.gid,
    counts.change_count,
    counts.crosswalk_count
from units
full outer join counts
    on units.unit_of = counts.unit_of
    and units.gid = counts.gid
where units.gid is null
    or coalesce(counts.change_count, 0) <> 1
    or (units.area_km2 > 0 and coalesce(counts.crosswalk_count, 0) = 0)
