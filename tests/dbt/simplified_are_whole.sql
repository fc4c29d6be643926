-- admin_units_simplified: every unit that has a geometry is there with each tolerance, valid and not empty
with

units as (

    {%- for level in admin_levels() %}
    select
        gid,
        geom is not null as has_geometry
    from {{ ref('admin_level_' ~ level) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

simplified as (

    select
        gid,
        count(*) as tolerances,
        count(*) filter (where not st_isvalid(geom) or st_isempty(geom)) as faulty
    from {{ ref('admin_units_simplified') }}
    group by gid

)

select units.gid
from units
left join simplified
    on units.gid = simplified.gid
where coalesce(simplified.tolerances, 0) <> case when units.has_geometry then 3 else 0 end
    or simplified.faulty > 0
