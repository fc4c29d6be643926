{{ config(materialized='view') }}

{{ compared_units() }}
