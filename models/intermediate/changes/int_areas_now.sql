{{ config(materialized='view') }}
{%- for level in admin_levels() %}
-- depends_on: {{ staged_level(level) }}
{%- endfor %}

{{ compared_areas(ref('int_units_now'), ref('int_units_before')) }}
