-- All marts, per declared foreign key: PostgreSQL has it, validated; and it has a relationships test, which checks it
-- on targets without foreign keys
{%- for level in admin_levels() %}
-- depends_on: {{ ref('admin_level_' ~ level) }}
{%- endfor %}
-- depends_on: {{ ref('admin_units') }}
-- depends_on: {{ ref('admin_unit_ancestors') }}
-- depends_on: {{ ref('internal_country_counts') }}
-- depends_on: {{ ref('internal_leaf_parts') }}
-- depends_on: {{ ref('internal_timezone_parts') }}
-- depends_on: {{ ref('admin_unit_timezones') }}
-- depends_on: {{ ref('admin_unit_names') }}
-- depends_on: {{ ref('admin_unit_codes') }}
-- depends_on: {{ ref('country_coverage') }}
-- depends_on: {{ ref('unit_matches') }}
{%- if var('unit_cells') %}
-- depends_on: {{ ref('admin_unit_cells') }}
{%- endif %}

{{ missing_foreign_keys() }}
