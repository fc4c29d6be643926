{#-
  SQL that gives the schemas of the edition in progress the grants and default privileges of those that they replace,
  for what is created from now on. Whoever may read the marts goes on reading them. The first build of another dataset
  takes those of `marts`, which `ingest init` has set.
-#}
{% macro copy_schema_rights() %}
do $rights$
declare
    entry record;
begin
    for entry in
        select
            format(
                'grant %s on schema %I to %s', granted.privilege_type, models.next, {{ grantee() }}
            ) as statement
        from ({{ models_of_schemas() }}) as models
        inner join pg_namespace
            on models.model = pg_namespace.oid
        cross join lateral aclexplode(nspacl) as granted
        where granted.grantee <> nspowner
        union all
        select
            format(
                'alter default privileges for role %s in schema %I grant %s on %s to %s',
                defaclrole::regrole, models.next, granted.privilege_type,
                case defaclobjtype when 'r' then 'tables' when 'f' then 'functions' end,
                {{ grantee() }}
            )
        from ({{ models_of_schemas() }}) as models
        inner join pg_default_acl
            on models.model = defaclnamespace
        cross join lateral aclexplode(defaclacl) as granted
        where defaclobjtype in ('r', 'f')
            and pg_has_role(defaclrole, 'member')
    loop
        execute entry.statement;
    end loop;
end
$rights$;
{% endmacro %}

{#-
  A select of the schemas of the edition in progress, each with the one whose owner and rights it takes. dbt has made
  those of a new dataset before the first hook runs, without rights; there is nothing in them.
-#}
{% macro models_of_schemas() -%}
    select
        name || '_next' as next,
        coalesce(
            (select relnamespace from pg_class where relnamespace = to_regnamespace(name) limit 1),
            to_regnamespace(split_part(name, '_', 1))::oid
        ) as model
    from unnest({{ edition_schemas_as_array() }}) as name
{%- endmacro %}

{#-
  SQL that makes the tables and functions of the edition in progress belong to the owner of their schema, with the
  rights that this owner's own would have, and those that were given on the tables that they replace.
-#}
{% macro copy_object_rights() %}
{% set meta = beside(marts_meta()) %}
do $rights$
declare
    entry record;
begin
    for entry in
        with

        objects as (
            {{ objects_of("array(select name || '_next' from unnest(" ~ edition_schemas_as_array() ~ ") as name)") }}
        )

        select
            format('alter %s %I.%s owner to %s', kind, schema_name, identifier, nspowner::regrole) as statement,
            1 as step
        from objects
        inner join pg_namespace
            on nspname = schema_name
        where owner <> nspowner
        union all
        select
            format(
                'grant %s on %s %I.%s to %s', granted.privilege_type,
                case kind when 'routine' then 'routine' else 'table' end, schema_name, identifier,
                {{ grantee() }}
            ),
            2
        from objects
        inner join pg_namespace
            on nspname = schema_name
        inner join pg_default_acl
            on defaclnamespace = pg_namespace.oid
            and defaclrole = nspowner
            and defaclobjtype = case kind when 'routine' then 'f'::"char" else 'r'::"char" end
        cross join lateral aclexplode(defaclacl) as granted
        where owner <> nspowner
            and granted.grantee <> nspowner
        union all
        select
            format(
                'grant %s on table %I.%s to %s', granted.privilege_type, schema_name, identifier,
                {{ grantee() }}
            ),
            2
        from objects
        inner join pg_class as replaced
            on replaced.oid = to_regclass(format('%I.%s', regexp_replace(schema_name, '_next$', ''), identifier))
        cross join lateral aclexplode(replaced.relacl) as granted
        where kind <> 'routine'
            and granted.grantee <> replaced.relowner
        order by step
    loop
        execute entry.statement;
    end loop;
    -- who loads may see which runs the marts are of, to say when they are stale
    for entry in
        select
            writer.loader::regrole::text as loader,
            to_regclass('{{ meta.schema }}.' || name) as relation
        from (
            select granted.grantee
            from pg_class
            cross join lateral aclexplode(relacl) as granted
            where pg_class.oid = to_regclass('raw.ingest_runs')
                and granted.privilege_type = 'INSERT'
                and granted.grantee <> 0
            union
            select nspowner
            from pg_namespace
            where nspname = 'raw'
        ) as writer (loader)
        cross join unnest(array['marts_meta', 'published_runs']) as name
        where writer.loader <> (select nspowner from pg_namespace where nspname = '{{ meta.schema }}')
    loop
        execute format('grant usage on schema {{ meta.schema }} to %s', entry.loader);
        if entry.relation is not null then
            execute format('grant select on %s to %s', entry.relation, entry.loader);
        end if;
    end loop;
end
$rights$;
{% endmacro %}

{#-
  A select of the tables, views and functions in some schemas, given as an array: what `alter … set schema` moves.
-#}
{% macro objects_of(schemas) %}
            select
                nspname as schema_name,
                relname as name,
                quote_ident(relname) as identifier,
                case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table'
                    else 'table' end as kind,
                relowner as owner
            from pg_class
            inner join pg_namespace
                on relnamespace = pg_namespace.oid
            where nspname = any({{ schemas }})
                and relkind in ('r', 'p', 'v', 'm', 'f')
            union all
            select
                nspname,
                proname,
                quote_ident(proname) || '(' || pg_get_function_identity_arguments(pg_proc.oid) || ')',
                'routine',
                proowner
            from pg_proc
            inner join pg_namespace
                on pronamespace = pg_namespace.oid
            where nspname = any({{ schemas }})
                and not exists (
                    select
                    from pg_depend
                    where classid = 'pg_proc'::regclass and objid = pg_proc.oid and deptype = 'e'
                )
{% endmacro %}

{% macro edition_schemas_as_array() -%}
    array['{{ edition_schemas() | join("', '") }}']
{%- endmacro %}

{#- Who has a grant of `aclexplode(…) as granted`, as SQL names him. -#}
{% macro grantee() -%}
    case granted.grantee when 0 then 'public' else granted.grantee::regrole::text end
{%- endmacro %}
