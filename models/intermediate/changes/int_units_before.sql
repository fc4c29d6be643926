{{ config(meta={'reads_run_before': true}, pre_hook="{{ join_by_hash() }}") }}
-- depends_on: {{ ref('int_admin_units__lineage') }}
-- depends_on: {{ ref('int_admin_units__parents_resolved') }}
-- depends_on: {{ ref('int_admin_units__unioned') }}
-- depends_on: {{ ref('key_repairs') }}
{{ compared_units() }}
