-- admin_level_1 to admin_level_5: a name beside the key of a unit above is the name of that unit, and the country is
-- that of admin_units
with

named as (
    {% for level in admin_levels()[1:] %}
    {% set is_last_level = loop.last %}
    {% for ancestor in range(level) %}
    select
        gid,
        country_gid,
        gid_{{ ancestor }} as gid_above,
        name_{{ ancestor }} as name_above
    from {{ ref('admin_level_' ~ level) }}
    {{ 'union all' if not (loop.last and is_last_level) }}
    {%- endfor %}
    {%- endfor %}

)

select
    named.gid,
    named.gid_above,
    named.name_above,
    above.name,
    named.country_gid
from named
inner join {{ ref('admin_units') }} as units
    on named.gid = units.gid
left join {{ ref('admin_units') }} as above
    on named.gid_above = above.gid
where coalesce(named.name_above, '') <> coalesce(above.name, '')
    or coalesce(named.country_gid, '') <> coalesce(units.country_gid, '')
