{{ config(materialized='view', meta={'reads_run_before': true}) }}
{%- for level in admin_levels() %}
-- depends_on: {{ staged_level(level) }}
{%- endfor %}

{{ compared_areas(ref('int_units_before'), ref('int_units_now')) }}
