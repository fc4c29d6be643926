{#-
  The select of a staging view `stg_gadm__adm_N`. The publisher's column names, which carry the level's number, become
  the same names on every level, and text is cleaned; nothing is joined or filtered. Columns that a level does not
  have are NULL.
-#}
{% macro staged_admin_level(level) -%}
{%- set run = pinned_run('gadm') -%}
{{ wait_for_ledger() }}

with

source as (

    select * from {{ source('gadm', 'gadm_adm_' ~ level) }}

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
        {{ level }} as admin_level,
        {{ clean_text('gid_' ~ level) }} as gid,
        {%- for ancestor in range(level) %}
        {{ clean_text('gid_' ~ ancestor) }} as gid_{{ ancestor }},
        {%- endfor %}

        ---------- text
        {%- if level == 0 %}
        {{ clean_text('country') }} as name,
        cast(null as text) as name_local,
        cast(null as text) as name_variants,
        cast(null as text) as type_local,
        cast(null as text) as type_english,
        cast(null as text) as hasc_code,
        cast(null as text) as iso_code,
        cast(null as text) as cc_code,
        {%- else %}
        {{ clean_text('name_' ~ level) }} as name,
        {{ clean_text('nl_name_' ~ level) }} as name_local,
        {{ clean_text('varname_' ~ level) }} as name_variants,
        {{ clean_text('type_' ~ level) }} as type_local,
        {{ clean_text('engtype_' ~ level) }} as type_english,
        {{ clean_text('hasc_' ~ level) }} as hasc_code,
        {{ clean_text('iso_1') if level == 1 else 'cast(null as text)' }} as iso_code,
        {{ clean_text('cc_' ~ level) }} as cc_code,
        {%- endif %}

        {{ staged_geometry_columns() }}

    from source

)

select * from renamed
{%- endmacro %}
