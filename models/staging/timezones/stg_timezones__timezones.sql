{%- set run = pinned_run('timezones') -%}
{{ wait_for_ledger() }}

with

source as (

    select * from {{ source('timezones', 'timezones') }}

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
        {{ clean_text('tzid', missing=[]) }} as tzid,

        {{ staged_geometry_columns() }}

    from source

)

select * from renamed
