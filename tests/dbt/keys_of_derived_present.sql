-- Marts with the tag `derived`: the primary key and the foreign keys that each declares are in the database
-- depends_on: {{ ref('admin_units') }}
-- depends_on: {{ ref('admin_unit_neighbours') }}
-- depends_on: {{ ref('admin_units_simplified') }}
-- depends_on: {{ ref('admin_topology_faults') }}
-- depends_on: {{ ref('admin_topology_summary') }}
-- depends_on: {{ ref('admin_unit_changes') }}
-- depends_on: {{ ref('admin_unit_crosswalk') }}
-- depends_on: {{ ref('timezone_transitions') }}
-- depends_on: {{ ref('timezone_aliases') }}
-- depends_on: {{ ref('timezone_overlaps') }}
select table_name as missing
from (
    {{ missing_primary_keys(is_derived=true) }}
) as primary_keys
union all
select name
from (
    {{ missing_foreign_keys(is_derived=true) }}
) as foreign_keys
