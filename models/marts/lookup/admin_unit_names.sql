{{ config(indexes=mart_indexes(prefixes=['folded_name'], columns=['gid'])) }}

with

named as (
    {% for level in admin_levels() %}
    select
        gid,
        name,
        name_local,
        name_variants,
        type_english
    from {{ ref('admin_level_' ~ level) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

spelled as (

    select
        gid,
        'name' as name_kind,
        name
    from named

    union

    select
        gid,
        'variant' as name_kind,
        {{ clean_parts('name_variants') }} as name
    from named

    union

    select
        gid,
        'local' as name_kind,
        {{ clean_parts('name_local') }} as name
    from named

)

select
    spelled.gid,
    spelled.name_kind,
    spelled.name,
    {{ fold_name('spelled.name') }} as folded_name,
    units.admin_level,
    named.type_english,
    units.country_gid,
    units.path
from spelled
inner join {{ ref('admin_units') }} as units
    on spelled.gid = units.gid
inner join named
    on spelled.gid = named.gid
where spelled.name is not null
