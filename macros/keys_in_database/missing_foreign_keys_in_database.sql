{#- As `missing_foreign_keys`, for the database alone. None is expected on DuckDB: see `add_own_foreign_keys`. -#}
{% macro missing_foreign_keys_in_database(keys) %}
    {{ return(adapter.dispatch('missing_foreign_keys_in_database')(keys)) }}
{% endmacro %}

{% macro default__missing_foreign_keys_in_database(keys) %}
select
    'none' as name,
    'none' as fault
where 1 = 0
{% endmacro %}

{% macro postgres__missing_foreign_keys_in_database(keys) %}
select
    declared.name,
    'not in pg_constraint, or not validated' as fault
from (values
    {%- for key in keys %}
    (
        '{{ key.name }}',
        '{{ key.child.include(database=false) }}',
        '{{ key.parent.include(database=false) }}'
    ){{ ',' if not loop.last }}
    {%- endfor %}
) as declared (name, child, parent)
left join pg_constraint
    on pg_constraint.conname = declared.name
    and pg_constraint.contype = 'f'
    and pg_constraint.conrelid = to_regclass(declared.child)
    and pg_constraint.confrelid = to_regclass(declared.parent)
    and pg_constraint.convalidated
where pg_constraint.oid is null
{% endmacro %}
