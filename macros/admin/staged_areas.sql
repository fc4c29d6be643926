{#-
  The rest of a staging view whose units have their areas in rows of their own, of the layer `areas.layer`: each unit
  takes its area on land (else any), and counts as two rows. Areas that no unit takes stay rows of the view, with the
  reason why they are no units. What decides is narrow, and no CTE with geometry is materialized: geometry only passes
  through.

  A key that several rows have, of units or of areas, is settled here, so that no area is taken twice.
-#}
{% macro staged_areas(level, areas, nested) -%}
{%- set row_number -%}
lpad(cast(file_no as text), 9, '0') || source_file || '|' || lpad(cast(source_fid as text), 19, '0')
{%- endset -%}
numbered as not materialized (

    select
        renamed.*,
        source_layer = '{{ areas.layer }}' as is_area,
        case
            when source_layer <> '{{ areas.layer }}' then {{ row_number }}
            else case when is_land then '0' else '1' end || coalesce(gid, '') || '|' || {{ row_number }}
        end as rank_in_key
    from renamed

),
{%- if nested %}

nested_units as (

    select distinct gid
    from numbered
    where is_nested
        and not is_area

),
{%- endif %}

units as not materialized (

    select *
    from numbered
    where not is_area
    {%- if nested %}
        and {{ '' if level == admin_levels() | last else 'not ' }}coalesce(is_nested, false)
    {%- endif %}

),

areas as not materialized (

    select *
    from numbered
    where is_area
    {%- if nested and level == admin_levels() | last %}
        and (source_level = {{ level }} or gid_of_area in (select nested_units.gid from nested_units))
    {%- elif nested %}
        and coalesce(gid_of_area not in (select nested_units.gid from nested_units), true)
    {%- endif %}

),

first_units as (

    select
        gid,
        min(rank_in_key) as rank_in_key
    from units
    where gid is not null
    group by gid

),

first_areas as (

    select
        gid_of_area,
        min(rank_in_key) as rank_in_key
    from areas
    where gid_of_area is not null
    group by gid_of_area

),

pairs as (

    select
        first_units.gid,
        first_units.rank_in_key as rank_of_unit,
        first_areas.rank_in_key as rank_of_area
    from first_units
    inner join first_areas
        on first_units.gid = first_areas.gid_of_area

)

select
    {%- for name in staged_columns(level) %}
    {%- if name == 'source_rows' %}
    case when pairs.gid is null then 1 else 2 end as source_rows,
    {%- elif name in ['is_valid_in_source', 'invalid_reason', 'geom_hash', 'geom'] %}
    case when pairs.gid is null then units.{{ name }} else areas.{{ name }} end as {{ name }}{{ ',' if not loop.last }}
    {%- elif name in staged_facts() %}
    coalesce(areas.{{ name }}, units.{{ name }}) as {{ name }},
    {%- else %}
    units.{{ name }},
    {%- endif %}
    {%- endfor %}
from units
left join pairs
    on units.gid = pairs.gid
    and units.rank_in_key = pairs.rank_of_unit
left join areas
    on pairs.gid = areas.gid_of_area
    and pairs.rank_of_area = areas.rank_in_key

union all

select
    {%- for name in staged_columns(level) %}
    {%- if name == 'set_aside_reason' %}
    case
        when first_units.gid is null then 'area_without_unit'
        when areas.is_land then 'second_area'
        else 'territorial_area'
    end as set_aside_reason,
    {%- elif name == 'gid' %}
    areas.gid_of_area as gid,
    {%- else %}
    areas.{{ name }}{{ ',' if not loop.last }}
    {%- endif %}
    {%- endfor %}
from areas
left join first_units
    on areas.gid_of_area = first_units.gid
left join pairs
    on areas.gid_of_area = pairs.gid
    and areas.rank_in_key = pairs.rank_of_area
where pairs.gid is null
{%- endmacro %}
