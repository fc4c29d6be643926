{{ wait_for_ledger() }}

with

source as (

    select * from {{ source('timezones', 'timezones') }}

),

renamed as (

    select
        ---------- ids
        run_id,
        release,
        source_file,
        source_fid,
        {{ clean_text('tzid') }} as tzid,

        {{ staged_geometry_columns() }}

    from source

)

select * from renamed
