{#-
  A select that carries columns of a relation from the units of the release before to those of this one, for models and
  analyses. The same arithmetic as `python -m ingest reweight`, see docs/changes.md:

      {{ reweight(ref('my_figures'), key='gid', sums=['population'], means=['income'], weight='households') }}

  `sums` are amounts, divided by area; `means` are levels, averaged with the area in common as weight, or with the
  amount `weight`, which is carried as well. Without `slivers`, ground that units have in common only because borders
  were drawn anew is left out, and what is left of a unit counts as all of it. With `backwards`, from this release to
  the one before. The relation has one row per unit; test that its key is unique.

  One row per unit that got something, with the carried columns as double precision, and `known_share`: of how much of
  its ground all of them were known. One more row, with NULL as its key, has the amounts that have no place: of ground
  outside of the other release, and of keys that are not known. So the sums are those of the relation.
-#}
{% macro reweight(relation, key='gid', sums=[], means=[], weight=none, slivers=true, backwards=false) -%}
{%- set own, other = ('to', 'from') if backwards else ('from', 'to') -%}
{%- set amounts = sums + ([weight] if weight is not none and weight not in sums else []) -%}
{%- set known = [] -%}
{%- for column in amounts + means -%}
    {%- do known.append(column ~ ' is not null') -%}
{%- endfor -%}
with

given as (

    select
        {{ key }} as own_key
        {%- for column in amounts + means %},
        cast({{ column }} as double precision) as {{ column }}
        {%- endfor %}
    from {{ relation }}

),

crosswalk as (

    select
        {{ own }}_gid as own_key,
        {{ other }}_gid as other_key,
        admin_level = {{ own }}_level as is_own_level,
        is_sliver,
        area_km2
        {%- for share, side in [('own_share', own), ('other_share', other)] %},
        share_of_{{ side }}{% if not slivers %} / (1 - coalesce(
            sum(case when is_sliver then share_of_{{ side }} end) over (partition by admin_level, {{ side }}_gid), 0
        )){% endif %} as {{ share }}
        {%- endfor %}
    from {{ ref('admin_unit_crosswalk') }}

),

shares as (

    select *
    from crosswalk
    where is_own_level
        and own_share is not null
        {{- '' if slivers else '\n        and not is_sliver' }}

),

pieces as (

    select
        given.*,
        shares.other_key,
        shares.other_share,
        coalesce(shares.own_share, 1) as own_share,
        {{ 'given.' ~ weight ~ ' * shares.own_share' if weight is not none else 'shares.area_km2' }} as weight_in_mean
    from given
    left join shares
        on given.own_key = shares.own_key

)

select
    other_key as {{ key }}
    {%- for column in amounts %},
    sum({{ column }} * own_share) as {{ column }}
    {%- endfor %}
    {%- for column in means %},
    case
        when other_key is not null
            then sum({{ column }} * weight_in_mean)
                / nullif(sum(case when {{ column }} is not null then weight_in_mean end), 0)
    end as {{ column }}
    {%- endfor %},
    case
        when other_key is not null
            then least(coalesce(sum(case when {{ known | join(' and ') }} then other_share end), 0), 1)
    end as known_share
from pieces
group by other_key
having count(case when {{ known | join(' or ') }} then 1 end) > 0
{%- endmacro %}
