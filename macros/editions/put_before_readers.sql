{#-
  Puts the edition in progress before readers, in one short transaction.

  A schema of which everything was built is replaced by renaming it, which takes no lock on any table. Tables that are
  not the project's move along. Of a schema that was built in part, tables are replaced one by one. That needs a lock on
  each, which a reader who sits in a transaction may hold, and behind the request others would queue; so it waits for
  0.3 s at most, steps aside, and tries again.

  A statement looks up its tables one after another. One that is just doing so while schemas are renamed would find old
  ones and new ones: `exchange_editions` of the adapter sees to it that there is none.
-#}
{% macro postgres__put_before_readers() %}
    {% call statement('prepare_exchange', auto_begin=true) %}
{{ foreign_key_sql(declared_foreign_keys()) }}
{{ create_lookup_functions() }}
{{ copy_object_rights() }}
{{ copy_lookup_rights() }}
drop view if exists {{ held_runs() }};
    {% endcall %}
    {% do adapter.commit() %}
    {% set failure = adapter.exchange_editions(replace_editions(), our_marts(), var('publish_patience')) %}
    {% if failure %}
do $fail$
begin
    raise exception using message = {{ text_literal(failure) }};
end
$fail$;
    {% else %}
{{ clear_old_editions(20) }}
commit;
    {% endif %}
{% endmacro %}

{#- The names of what the project makes in its schemas, as a list: all else there is somebody else's. -#}
{% macro our_marts() %}
    {% set names = optional_marts() + former_marts() %}
    {% for name in ['marts_meta', 'fold_name', 'locate', 'locate_points'] %}
        {% do names.append(with_dataset('marts') ~ '.' ~ name) %}
    {% endfor %}
    {% for node in graph.nodes.values()
        if node.resource_type in ['model', 'snapshot'] and node.config.materialized != 'ephemeral' %}
        {% do names.append(node.schema ~ '.' ~ node.alias) %}
    {% endfor %}
    {{ return(names) }}
{% endmacro %}

{#- SQL that replaces the schemas of the edition before, or what was built in them. -#}
{% macro replace_editions() %}
{% set tag = invocation_id.replace('-', '')[:8] %}
do $publish$
declare
    ours constant text[] := array['{{ our_marts() | join("', '") }}'];
    left_out constant text[] := string_to_array('{{ marts_left_out() | join(",") }}', ',');
    place record;
    entry record;
begin
    if not exists (select from {{ beside(marts_meta()) }} where build_id = '{{ invocation_id }}') then
        raise exception 'Another dbt build has begun meanwhile, and what this one built is gone. Build again.';
    end if;
    for place in
        with

        objects as (
            {{ objects_of("array(select name || suffix from unnest(" ~ edition_schemas_as_array()
                ~ ") as name, unnest(array['', '_next']) as suffix)") }}
        )

        select
            schemas.name as now,
            schemas.name || '_next' as next,
            schemas.name || '_old_{{ tag }}' as old,
            to_regnamespace(schemas.name) is not null as is_there,
            not exists (
                select from objects as built where built.schema_name = schemas.name || '_next'
            ) as is_empty,
            not exists (
                select
                from objects as standing
                where standing.schema_name = schemas.name
                    and standing.kind <> 'routine'
                    and standing.schema_name || '.' || standing.name = any(ours)
                    and standing.schema_name || '.' || standing.name <> all(left_out)
                    and not exists (
                        select
                        from objects as built
                        where built.schema_name = schemas.name || '_next'
                            and built.identifier = standing.identifier
                    )
            ) as is_whole
        from unnest({{ edition_schemas_as_array() }}) as schemas (name)
        where to_regnamespace(schemas.name || '_next') is not null
    loop
        if place.is_empty then
            execute format('drop schema %I', place.next);
            continue;
        end if;
        if not place.is_there then
            execute format('alter schema %I rename to %I', place.next, place.now);
            continue;
        end if;
        if not place.is_whole then
            execute format('create schema %I', place.old);
        end if;
        for entry in
            with

            standing as (
                {{ objects_of('array[place.now]') }}
            ),

            built as (
                {{ objects_of('array[place.next]') }}
            )

            -- what is replaced goes, what was built comes; or what is not ours moves along
            select format('alter %s %I.%s set schema %I', kind, place.now, identifier, place.old) as statement
            from standing
            where not place.is_whole and identifier in (select built.identifier from built)
            union all
            select format('alter %s %I.%s set schema %I', kind, place.next, identifier, place.now)
            from built
            where not place.is_whole
            union all
            select format('alter %s %I.%s set schema %I', kind, place.now, identifier, place.next)
            from standing
            where place.is_whole
                and schema_name || '.' || name <> all(ours)
                and identifier not in (select built.identifier from built)
        loop
            execute entry.statement;
        end loop;
        if place.is_whole then
            execute format('alter schema %I rename to %I', place.now, place.old);
            execute format('alter schema %I rename to %I', place.next, place.now);
        else
            execute format('drop schema %I', place.next);
        end if;
    end loop;
    -- tables that stay have their keys to the parents before and, under another name, to the new ones
    for entry in
        select
            conrelid::regclass as child,
            conname as name,
            regexp_replace(conname, '__next$', '') as final_name
        from pg_constraint
        where contype = 'f' and conname like '%\_\_next'
            and connamespace = any(
                select to_regnamespace(name) from unnest({{ edition_schemas_as_array() }}) as name
            )
    loop
        execute format('alter table %s drop constraint if exists %I', entry.child, entry.final_name);
        execute format('alter table %s rename constraint %I to %I', entry.child, entry.name, entry.final_name);
    end loop;
end
$publish$;
{% endmacro %}
