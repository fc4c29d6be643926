{#- A select over the catalogue: schema, table and the columns (in alphabetical order) of every primary key. -#}
{% macro primary_keys_in_database() %}
    {{ return(adapter.dispatch('primary_keys_in_database')()) }}
{% endmacro %}

{% macro default__primary_keys_in_database() %}
    select
        pg_namespace.nspname as schema_name,
        pg_class.relname as table_name,
        string_agg(pg_attribute.attname, ', ' order by pg_attribute.attname) as key_columns
    from pg_constraint
    inner join pg_class
        on pg_constraint.conrelid = pg_class.oid
    inner join pg_namespace
        on pg_class.relnamespace = pg_namespace.oid
    inner join pg_attribute
        on pg_constraint.conrelid = pg_attribute.attrelid
        and pg_attribute.attnum = any(pg_constraint.conkey)
    where pg_constraint.contype = 'p'
    group by pg_namespace.nspname, pg_class.relname
{% endmacro %}

{% macro duckdb__primary_keys_in_database() %}
    select
        schema_name,
        table_name,
        array_to_string(list_sort(constraint_column_names), ', ') as key_columns
    from duckdb_constraints()
    where constraint_type = 'PRIMARY KEY'
{% endmacro %}
