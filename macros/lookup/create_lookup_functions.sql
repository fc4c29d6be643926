{#-
  At the end of every run: creates `fold_name`, `locate` and `locate_points`, the functions that users call, beside
  the tables that they read. Their bodies are stored as text, so that rebuilding a table does not drop them.
-#}
{% macro create_lookup_functions() %}
    {{ return(adapter.dispatch('create_lookup_functions')()) }}
{% endmacro %}

{% macro postgres__create_lookup_functions() %}
do $create$
begin
    -- a run that made no mart yet has no schema for them
    if to_regnamespace('marts') is null then
        return;
    end if;
    -- a run of a few models may come before the tables that they read
    perform set_config('check_function_bodies', 'off', true);
    perform pg_advisory_xact_lock(hashtext('lookup functions of the marts'));

    create or replace function marts.fold_name(name text)
    returns text language sql immutable strict parallel safe
    as $fold_name$
        select {{ fold_name('name') }}
    $fold_name$;
    comment on function marts.fold_name(text) is
        'A name as people type it: lower case, without accents or punctuation.';

    {{ locate_in_postgres() }}
end
$create$
{% endmacro %}

{% macro duckdb__create_lookup_functions() %}
create schema if not exists marts;
create or replace macro marts.fold_name(name) as {{ fold_name('name') }};
{{ locate_in_duckdb() }}
{% endmacro %}
