{#-
  The select of a staging view `stg_<dataset>__adm_N`. The publisher's columns become the same columns on every level of
  every dataset, and text is cleaned; nothing is joined or filtered, except as `areas` and `nested` say. What a level
  does not have is NULL.

  `columns` names the raw column behind a staged one; a list of several that hold variants of one name; or, as
  `{'joined': […]}`, those that a key is made of. Where `parent_gid` is not among them, the ancestor one level above is
  the parent; with ragged parents, the closest that the row names. `codes` names the raw column behind a scheme of
  codes. `constants` stand where a row has nothing of its own, those of its release before the dataset's; `missing` are
  the publisher's words for no text. `areas` is for units that have their area in a row of another layer (see
  `staged_areas`). `nested` names a raw column of the level above the last: the key of the outermost unit of that level
  that a unit lies in; a unit that lies in another is one of the last level.
  `python -m ingest scaffold` writes the views.
-#}
{% macro staged_admin_level(
    dataset, level, columns, codes={}, constants={}, of_releases={}, missing=[], areas={}, nested=none
) -%}
{%- set raw_levels = [level - 1, level] if nested and level == admin_levels() | last else [level] -%}
{%- if not execute -%}
{%- set sources = [] -%}
{%- for raw_level in raw_levels -%}
{%- do sources.append(source(dataset, dataset ~ '_adm_' ~ raw_level)) -%}
{%- endfor -%}
{{ return('select 1 from ' ~ sources | join(', ') ~ wait_for_ledger()) }}
{%- endif -%}
{%- set run = pinned_run(dataset) -%}
{%- set constants = dict(constants, **of_releases.get(run.release, {})) -%}
{{ wait_for_ledger() }}

with

renamed as {{ 'not materialized ' if areas }}(
{% for raw_level in raw_levels %}
    select
        ---------- ids
        {{ text_literal(run.run_id) }} as run_id,
        {{ text_literal(run.release) }} as release,
        file_no,
        source_file,
        source_layer,
        source_fid,
        1 as source_rows,
        {{ raw_level }} as source_level,
        cast(null as text) as set_aside_reason,
        {{ level }} as admin_level,
        {{ staged_text(columns.gid, missing) }} as gid,
        {{ staged_parent(level, columns, constants, missing) }} as parent_gid,
        {{ staged_text(columns['publisher_parent_gid'], missing) if 'publisher_parent_gid' in columns
            else 'cast(null as text)' }} as publisher_parent_gid,
        {%- for ancestor in range(level) %}
        {{ staged_ancestor(ancestor, columns, constants, missing) }} as gid_{{ ancestor }},
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
        {%- if areas %}
        {{ staged_text(areas.key, missing) }} as gid_of_area,
        coalesce({{ areas.is_land }}, 'true') = 'true' as is_land,
        {%- endif %}
        {%- if nested %}
        {{ staged_text(nested, missing) ~ ' <> ' ~ staged_text(columns.gid, missing)
            if raw_level == (admin_levels() | last) - 1 else 'true' }} as is_nested,
        {%- endif %}

        {{ staged_geometry_columns() }}

    from {{ source(dataset, dataset ~ '_adm_' ~ raw_level) }}
    {{ 'union all' if not loop.last }}
{%- endfor %}

)
{%- if areas %},

{{ staged_areas(level, areas, nested) }}
{%- else %}

select * from renamed
{%- endif %}
{%- endmacro %}

{#- The key of a unit's parent: by a column of its own, or that of the ancestor that is closest. -#}
{% macro staged_parent(level, columns, constants, missing) -%}
    {%- set ancestors = [] -%}
    {%- for ancestor in range(level) | reverse -%}
        {%- if has_ragged_parents() or ancestor == level - 1 -%}
            {%- do ancestors.append(staged_ancestor(ancestor, columns, constants, missing)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if 'parent_gid' in columns -%}
        {{ staged_text(columns.parent_gid, missing) }}
    {%- elif ancestors | length > 1 -%}
        coalesce({{ ancestors | join(', ') }})
    {%- else -%}
        {{ ancestors[0] if ancestors else 'cast(null as text)' }}
    {%- endif -%}
{%- endmacro %}

{#- The key of the ancestor on a level. -#}
{% macro staged_ancestor(level, columns, constants, missing) -%}
    {%- set name = 'gid_' ~ level -%}
    {{ staged_text(columns[name], missing) if name in columns else text_literal(constants.get(name)) }}
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
{%- set types = {
    'file_no': 'integer', 'source_fid': 'bigint', 'source_rows': 'integer', 'source_level': 'integer',
    'admin_level': 'integer', 'vertex_count': 'bigint', 'is_valid_in_source': 'boolean',
} -%}
select
    {%- for name in staged_columns(level)[:-1] %}
    cast(null as {{ types.get(name) or ('double precision' if name in staged_facts() else 'text') }}) as {{ name }},
    {%- endfor %}
    {{ no_geometry() }} as geom
where false
{%- endmacro %}

{#- The columns of a staging view, in their order. -#}
{% macro staged_columns(level) %}
    {% set ancestors = [] %}
    {% for ancestor in range(level) %}
        {% do ancestors.append('gid_' ~ ancestor) %}
    {% endfor %}
    {{ return(
        ['run_id', 'release', 'file_no', 'source_file', 'source_layer', 'source_fid', 'source_rows', 'source_level',
        'set_aside_reason', 'admin_level', 'gid', 'parent_gid', 'publisher_parent_gid'] + ancestors
        + staged_texts() + ['codes'] + staged_facts() + ['is_valid_in_source', 'invalid_reason', 'geom_hash', 'geom']
    ) }}
{% endmacro %}

{#- What ingest computes from a geometry. -#}
{% macro staged_facts() %}
    {{ return(['vertex_count', 'area_km2', 'area_km2_in_source', 'point_lon', 'point_lat', 'min_lon', 'min_lat',
        'max_lon', 'max_lat', 'west_lon', 'east_lon']) }}
{% endmacro %}

{#- The texts that every staged unit has, or NULL. -#}
{% macro staged_texts() %}
    {{ return(['name', 'name_local', 'name_variants', 'type_local', 'type_english', 'hasc_code', 'iso_code', 'cc_code',
        'licence', 'attribution', 'source_name']) }}
{% endmacro %}

{#- The staging view of a level, of the dataset that is built. -#}
{% macro staged_level(level) %}
    {{ return(ref('stg_' ~ boundaries() ~ '__adm_' ~ level)) }}
{% endmacro %}
