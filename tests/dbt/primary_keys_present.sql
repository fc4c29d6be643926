-- All marts: each declares a primary key in its contract, and the database has it
{%- for level in admin_levels() %}
-- depends_on: {{ ref('admin_level_' ~ level) }}
{%- endfor %}
-- depends_on: {{ ref('admin_units') }}
-- depends_on: {{ ref('admin_unit_ancestors') }}
-- depends_on: {{ ref('timezones') }}
-- depends_on: {{ ref('internal_level_counts') }}
-- depends_on: {{ ref('internal_country_counts') }}
-- depends_on: {{ ref('internal_leaf_parts') }}
-- depends_on: {{ ref('internal_timezone_parts') }}
-- depends_on: {{ ref('admin_unit_timezones') }}
-- depends_on: {{ ref('admin_unit_names') }}
-- depends_on: {{ ref('admin_unit_codes') }}
-- depends_on: {{ ref('country_coverage') }}
-- depends_on: {{ ref('unit_matches') }}
-- depends_on: {{ ref('admin_anomalies') }}
-- depends_on: {{ ref('admin_units_history') }}
-- depends_on: {{ ref('built_releases') }}
{%- if var('unit_cells') %}
-- depends_on: {{ ref('admin_unit_cells') }}
{%- endif %}

{{ missing_primary_keys() }}
