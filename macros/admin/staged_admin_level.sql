{#-
  The select of a staging view `stg_<dataset>__adm_N`. The publisher's columns become the same columns on every level of
  every dataset, and text is cleaned; nothing is joined or filtered. What a level does not have is NULL.

  `columns` names the raw column behind a staged one; a list of several that hold variants of one name; or, as
  `{'joined': […]}`, those that a key is made of. Where `parent_gid` is not among them, the ancestor one level above is
  the parent. `codes` names the raw column behind a scheme of codes. `constants` stand where a row has nothing of its
  own, those of its release before the dataset's; `missing` are the publisher's words for no text.
  `python -m ingest scaffold` writes the views.
-#}
{% macro staged_admin_level(dataset, level, columns, codes={}, constants={}, of_releases={}, missing=[]) -%}
{%- if not execute -%}
{{ return('select 1 from ' ~ source(dataset, dataset ~ '_adm_' ~ level) ~ wait_for_ledger()) }}
{%- endif -%}
{%- set run = pinned_run(dataset) -%}
{%- set constants = dict(constants, **of_releases.get(run.release, {})) -%}
{%- set parent = 'parent_gid' if 'parent_gid' in columns else 'gid_' ~ (level - 1) -%}
{{ wait_for_ledger() }}

with

source as (

    select * from {{ source(dataset, dataset ~ '_adm_' ~ level) }}

),

renamed as (

    select
        ---------- ids
        {{ text_literal(run.run_id) }} as run_id,
        {{ text_literal(run.release) }} as release,
        file_no,
        source_file,
        source_layer,
        source_fid,
        1 as source_rows,
        cast(null as text) as set_aside_reason,
        {{ level }} as admin_level,
        {{ staged_text(columns.gid, missing) }} as gid,
        {{ staged_text(columns[parent], missing) if parent in columns
            else text_literal(constants.get(parent)) }} as parent_gid,
        {%- for ancestor in range(level) %}
        {{ staged_text(columns['gid_' ~ ancestor], missing) if ('gid_' ~ ancestor) in columns
            else text_literal(constants.get('gid_' ~ ancestor)) }} as gid_{{ ancestor }},
        {%- endfor %}

        ---------- text
        {%- for name in staged_texts() %}
        {%- if name in columns and name in constants %}
        coalesce({{ staged_text(columns[name], missing) }}, {{ text_literal(constants[name]) }}) as {{ name }},
        {%- else %}
        {{ staged_text(columns[name], missing) if name in columns
            else text_literal(constants.get(name)) }} as {{ name }},
        {%- endif %}
        {%- endfor %}
        {%- if codes %}
        nullif(concat_ws('|'
            {%- for scheme, column in codes.items() -%}
            , '{{ scheme }}=' || replace({{ clean_text(column, missing) }}, '|', ',')
            {%- endfor -%}
        ), '') as codes,
        {%- else %}
        cast(null as text) as codes,
        {%- endif %}

        {{ staged_geometry_columns() }}

    from source

)

select * from renamed
{%- endmacro %}

{#-
  The text of a raw column. Of several, a `|` stands between them, NULL if none has any; or they are joined as they are,
  NULL if one has none.
-#}
{% macro staged_text(columns, missing) -%}
    {%- if columns is string -%}
        {{ clean_text(columns, missing) }}
    {%- elif columns is mapping -%}
        {%- for column in columns.joined -%}
            {{ clean_text(column, missing) }}{{ ' || ' if not loop.last }}
        {%- endfor -%}
    {%- else -%}
        nullif(concat_ws('|'
            {%- for column in columns -%}, {{ clean_text(column, missing) }}{%- endfor -%}
        ), '')
    {%- endif -%}
{%- endmacro %}

{#- The select of a staging view of a level that the dataset does not have. -#}
{% macro staged_no_level(level) -%}
select
    {%- for name in ['run_id', 'release'] %}
    cast(null as text) as {{ name }},
    {%- endfor %}
    cast(null as integer) as file_no,
    cast(null as text) as source_file,
    cast(null as text) as source_layer,
    cast(null as bigint) as source_fid,
    cast(null as integer) as source_rows,
    cast(null as text) as set_aside_reason,
    {{ level }} as admin_level,
    cast(null as text) as gid,
    cast(null as text) as parent_gid,
    {%- for ancestor in range(level) %}
    cast(null as text) as gid_{{ ancestor }},
    {%- endfor %}
    {%- for name in staged_texts() + ['codes'] %}
    cast(null as text) as {{ name }},
    {%- endfor %}
    cast(null as bigint) as vertex_count,
    {%- for name in ['area_km2', 'area_km2_in_source', 'point_lon', 'point_lat', 'min_lon', 'min_lat', 'max_lon',
        'max_lat', 'west_lon', 'east_lon'] %}
    cast(null as double precision) as {{ name }},
    {%- endfor %}
    cast(null as boolean) as is_valid_in_source,
    cast(null as text) as invalid_reason,
    {{ no_geometry() }} as geom
where false
{%- endmacro %}

{#- The texts that every staged unit has, or NULL. -#}
{% macro staged_texts() %}
    {{ return(['name', 'name_local', 'name_variants', 'type_local', 'type_english', 'hasc_code', 'iso_code', 'cc_code',
        'licence', 'attribution', 'source_name']) }}
{% endmacro %}

{#- The staging view of a level, of the dataset that is built. -#}
{% macro staged_level(level) %}
    {{ return(ref('stg_' ~ boundaries() ~ '__adm_' ~ level)) }}
{% endmacro %}
