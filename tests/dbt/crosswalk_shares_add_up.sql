-- On its own level, the shares of a unit of either release add up to 1 with what fell outside.
with

crosswalk as (

    select * from {{ ref('admin_unit_crosswalk') }}

),

sums as (
    {% for side in ['from', 'to'] %}
    select
        '{{ side }}' as unit_of,
        {{ side }}_gid as gid,
        sum(share_of_{{ side }}) as share,
        min(share_of_{{ side }}) as least
    from crosswalk
    where admin_level = {{ side }}_level
    group by {{ side }}_gid
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select * from sums
where abs(share - 1) > 1e-9
    or least < 0
