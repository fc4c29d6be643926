{{ config(enabled=(boundaries() == 'naturalearth')) }}

{{ staged_no_level(4) }}
