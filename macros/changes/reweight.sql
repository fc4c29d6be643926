{#-
  A select that carries columns of a relation from the units of the release before to those of this one, for models and
  analyses. The same arithmetic as `python -m ingest reweight`, see docs/changes.md:

      {{ reweight(ref('my_figures'), key='gid', sums=['population'], means=['income'], weight='households') }}

  `sums` are amounts, divided by area; `means` are levels, averaged with the area in common as weight, or with the
  amount `weight`, which is carried as well. Without `slivers`, ground that units have in common only because borders
  were drawn anew is left out, and what is left of a unit counts as all of it. With `backwards`, from this release to the one before. The relation has one
  row per unit; test that its key is unique.

  One row per unit that got something, with the carried columns as double precision, and `known_share`: of how much of
  its ground all of them were known. One more row, with NULL as its key, has the amounts that have no place: of ground
  outside of the other release, and of keys that are not known. So the sums are those of the relation.
-#}
{% macro reweight(relation, key='gid', sums=[], means=[], weight=none, slivers=true, backwards=false) -%}
{%- set own, other = ('to', 'from') if backwards else ('from', 'to') -%}
{%- set amounts = sums + ([weight] if weight is not none and weight not in sums else []) -%}
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
        {%- for share, side in [('share', own), ('share_of_other', other)] %},
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
        and share is not null
        {{- '' if slivers else '\n        and not is_sliver' }}

),

pieces as (

    select
        given.*,
        shares.other_key,
        shares.share_of_other,
        coalesce(shares.share, 1) as share,
        {{ 'given.' ~ weight ~ ' * shares.share' if weight is not none else 'shares.area_km2' }} as mean_weight
    from given
    left join shares
        on given.own_key = shares.own_key

)

select
    other_key as {{ key }}
    {%- for column in amounts %},
    sum({{ column }} * share) as {{ column }}
    {%- endfor %}
    {%- for column in means %},
    case
        when other_key is not null
            then sum({{ column }} * mean_weight) / nullif(sum(case when {{ column }} is not null then mean_weight end), 0)
    end as {{ column }}
    {%- endfor %},
    case
        when other_key is not null then least(coalesce(sum(
            case
                when {% for column in amounts + means %}{{ column }} is not null{{ ' and ' if not loop.last }}{% endfor %}
                    then share_of_other
            end
        ), 0), 1)
    end as known_share
from pieces
group by other_key
having coalesce({% for column in amounts + means %}count({{ column }}){{ ' + ' if not loop.last }}{% endfor %}, 0) > 0
{%- endmacro %}
