{#-
  SQL that creates `fold_name`, `locate` and `locate_points`, the functions that users call, beside the tables of the
  edition in progress.
-#}
{% macro create_lookup_functions() %}
    {{ return(adapter.dispatch('create_lookup_functions')()) }}
{% endmacro %}

{#-
  On PostgreSQL, they read the tables through views in a schema of the edition's own, `marts_edition_…`, which is never
  renamed. A call that is under way when the next edition replaces `marts`, or a long query with many calls,
  therefore goes on reading the tables that it began with: through `marts.…`, it would find new ones half-way, and with
  an older snapshot find them empty.
-#}
{% macro postgres__create_lookup_functions() %}
{% set marts = with_dataset('marts') %}
{% set functions = beside(marts_meta()).schema %}
{% set views = with_dataset('marts') ~ '_edition_' ~ invocation_id.replace('-', '')[:8] %}
{% set tables = ['internal_leaf_parts', 'internal_timezone_parts', 'admin_units', 'admin_unit_ancestors'] %}
do $create$
declare
    owner constant text := (select nspowner::regrole from pg_namespace where nspname = '{{ functions }}');
    entry record;
begin
    create or replace function {{ functions }}.fold_name(name text)
    returns text language sql immutable strict parallel safe
    set search_path from current
    set standard_conforming_strings from current -- the text below has backslashes
    as $fold_name$
        select {{ fold_name('name') }}
    $fold_name$;
    comment on function {{ functions }}.fold_name(text) is
        'A name as people type it: lower case, without accents or punctuation.';

    -- a build of a few models may come before the tables that they read
    if exists (
        select
        from unnest(array['{{ tables | join("', '") }}']) as name
        where coalesce(to_regclass('{{ functions }}.' || name), to_regclass('{{ marts }}.' || name)) is null
    ) then
        return;
    end if;
    execute format('create schema {{ views }} authorization %s', owner);
    for entry in
        select
            name,
            coalesce(to_regclass('{{ functions }}.' || name), to_regclass('{{ marts }}.' || name)) as source
        from unnest(array['{{ tables | join("', '") }}']) as name
    loop
        execute format('create view {{ views }}.%I as select * from %s', entry.name, entry.source);
        execute format('alter view {{ views }}.%I owner to %s', entry.name, owner);
    end loop;
    {{ locate_in_postgres(functions, views) }}
    for entry in select oid::regprocedure as name from pg_proc where pronamespace = to_regnamespace('{{ views }}') loop
        execute format('alter function %s owner to %s', entry.name, owner);
    end loop;
end
$create$;
{% endmacro %}

{#-
  SQL that lets whoever may read the marts call the lookup functions: the edition's views get the same grants, and its
  functions are for whoever may use the schema.
-#}
{% macro copy_lookup_rights() %}
{% set views = with_dataset('marts') ~ '_edition_' ~ invocation_id.replace('-', '')[:8] %}
do $rights$
declare
    entry record;
begin
    for entry in
        select distinct format(
            'grant %s on %s to %s', coalesce(privilege, granted.privilege_type), object,
            {{ grantee() }}
        ) as statement
        from (
            select object, privilege, nspacl as acl, nspowner as owner
            from pg_namespace
            cross join (
                values ('schema {{ views }}', null), ('all functions in schema {{ views }}', 'execute')
            ) as places (object, privilege)
            where nspname = '{{ beside(marts_meta()).schema }}'
            union all
            select 'table {{ views }}.' || quote_ident(view.relname), null, source.relacl, source.relowner
            from pg_class as view
            inner join pg_class as source
                on source.oid = coalesce(
                    to_regclass('{{ beside(marts_meta()).schema }}.' || quote_ident(view.relname)),
                    to_regclass('{{ with_dataset('marts') }}.' || quote_ident(view.relname))
                )
            where view.relnamespace = to_regnamespace('{{ views }}')
        ) as objects
        cross join lateral aclexplode(acl) as granted
        where granted.grantee <> owner
            and granted.privilege_type in ('USAGE', 'SELECT')
            and (privilege is null or granted.privilege_type = 'USAGE')
            and to_regnamespace('{{ views }}') is not null
    loop
        execute entry.statement;
    end loop;
end
$rights$;
{% endmacro %}

{% macro duckdb__create_lookup_functions() %}
create schema if not exists {{ with_dataset('marts') }};
create or replace macro {{ with_dataset('marts') }}.fold_name(name) as {{ fold_name('name') }};
{{ locate_in_duckdb() }}
{% endmacro %}
