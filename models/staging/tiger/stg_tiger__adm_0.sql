{{ config(enabled=(boundaries() == 'tiger')) }}

{{ staged_no_level(0) }}
