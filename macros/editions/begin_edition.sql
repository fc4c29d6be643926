{#-
  On-run-start: begins an edition. What a killed build left is cleared away, and the run of each dataset that the whole
  build reads is written to `marts_meta`: the published one, unless models of the dataset stay as they are, since then
  all must stay with the run that those are of. `dbt retry` goes on with the edition of the build that failed.
-#}
{% macro begin_edition() %}
    {% if execute and project_name != 'admin_boundaries' %}
        {{ return(refuse_to_build_elsewhere()) }}
    {% endif %}
    {{ return(adapter.dispatch('begin_edition')()) }}
{% endmacro %}

{#- Refuses to build the marts in a project that has this one as a package: they would replace those of readers. -#}
{% macro refuse_to_build_elsewhere() %}
    {% for id in selected_resources if flags.WHICH in ('build', 'run', 'seed', 'snapshot')
        and id.split('.')[0] in ['model', 'seed', 'snapshot'] and id.split('.')[1] == 'admin_boundaries' %}
        {% do exceptions.raise_compiler_error('The marts are built in the project admin_boundaries, and read in this '
            ~ 'one. Select what is its own: dbt build --select package:' ~ project_name) %}
    {% endfor %}
{% endmacro %}

{% macro default__begin_edition() %}
    {% if is_building() %}
        {% if is_retry() %}
            {% set statements = resume_edition() %}
        {% else %}
            {% do say_what_stays() %}
            {% set statements = open_edition() ~ pin_runs() %}
        {% endif %}
        {#- run here, not by dbt as the hook's text: only an error here keeps dbt from going on without an edition -#}
        {% call statement('begin_edition', auto_begin=true) %}
            {{ statements }}
        {% endcall %}
        {% do adapter.commit() %}
        {% do look_beside() %}
    {% endif %}
{% endmacro %}

{#-
  Makes dbt look what a failed build, which this one continues, has left beside the marts. It would otherwise look when
  `ref` first asks, and where this build has by then made a table, dbt takes that for all there is: models and tests
  would read the edition of the readers instead of what the failed build has made.
-#}
{% macro look_beside() %}
    {% for name in edition_schemas() %}
        {% set place = beside(api.Relation.create(database=target.database, schema=name, identifier='any')) %}
        {% do adapter.get_relation(place.database, place.schema, place.identifier) %}
    {% endfor %}
{% endmacro %}

{#- Says which datasets a partial build leaves at an older run than the published one, as it must. -#}
{% macro say_what_stays() %}
    {% for dataset in datasets_that_stay() %}
        {% set found = run_query("select built.run_id, published.run_id from " ~ marts_meta() ~ " as built inner join "
            ~ builtins.source('ledger', 'ingest_runs').render() ~ " as published on built.dataset = published.dataset"
            ~ " and published.state = 'published' and built.run_id <> published.run_id where built.dataset = '"
            ~ dataset ~ "'").rows %}
        {% if found %}
            {% do log('This build reads run ' ~ found[0][0] ~ ' of ' ~ dataset ~ ', since it leaves some of its '
                ~ 'marts as they are. To build all of them from run ' ~ found[0][1] ~ ', which is published: '
                ~ build_command(), info=true) %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{#- True in `dbt retry`. dbt presents it as the command that it repeats, with the same flags. -#}
{% macro is_retry() %}
    {{ return('retry' in invocation_args_dict.get('invocation_command', '').split()) }}
{% endmacro %}

{#- SQL that makes room for an edition. On DuckDB, the plugin has opened a file for it. -#}
{% macro open_edition() %}
    {{ return(adapter.dispatch('open_edition')()) }}
{% endmacro %}

{% macro duckdb__open_edition() %}
select error('{{ nothing_loaded() }}')
where not exists (select 1 from {{ source('ledger', 'ingest_runs').external.replace('read_parquet', 'glob') }});
create schema if not exists {{ marts_meta().schema }};
drop table if exists {{ marts_meta().schema }}.failed_build;
{{ carry_over() }}
{% endmacro %}

{% macro nothing_loaded() -%}
    Nothing has been loaded yet. Load first: python -m ingest {{ datasets() | join(' ') }}
{%- endmacro %}

{% macro postgres__open_edition() %}
{% set schemas = edition_schemas() %}
do $open$
declare
    nexts constant text[] := array[{% for name in schemas %}'{{ name }}_next'{{ ', ' if not loop.last }}{% endfor %}];
    quiet integer := 0;
    entry record;
begin
    perform pg_advisory_xact_lock(hashtext('editions of the marts'));
    if to_regclass('raw.ingest_runs') is null then
        raise exception '{{ nothing_loaded() }}';
    end if;

    -- What stands in these schemas was left by a build that failed or was killed, or belongs to one at work: that one
    -- always holds a lock there, apart from moments between two models.
    for rounds in 1..{{ var('publish_patience') * 5 }} loop
        exit when quiet = 5 or not exists (select from pg_namespace where nspname = any(nexts));
        quiet := case when exists (
            select
            from pg_locks
            inner join pg_stat_activity using (pid)
            left join pg_class on pg_locks.locktype = 'relation' and pg_locks.relation = pg_class.oid
            inner join pg_namespace
                on pg_namespace.oid = pg_class.relnamespace
                or (
                    pg_locks.classid = 'pg_namespace'::regclass
                    and pg_locks.objid = pg_namespace.oid
                )
            where pg_locks.pid <> pg_backend_pid()
                and pg_stat_activity.datname = current_database()
                and pg_stat_activity.backend_type = 'client backend'
                and pg_namespace.nspname = any(nexts)
        ) then 0 else quiet + 1 end;
        if rounds = {{ var('publish_patience') * 5 }} then
            raise exception 'Another dbt build is at work in this database. Wait for it to end, then build again.';
        end if;
        perform pg_sleep(0.1);
    end loop;
    -- keys that a part was to bring may hang on tables of the readers: none of these waits for longer than 0.3 s
    for rounds in 1..{{ (var('publish_patience') / 0.6) | int + 1 }} loop
        begin
            perform set_config('lock_timeout', '300ms', true);
            for entry in select nspname as name from pg_namespace where nspname = any(nexts) loop
                execute format('drop schema %I cascade', entry.name);
            end loop;
            exit;
        exception when lock_not_available then
            if rounds > {{ (var('publish_patience') / 0.6) | int }} then
                raise exception 'What an earlier build left could not be cleared away, since sessions of others hold '
                    'it: see pg_stat_activity for those idle in transaction. End them, then build again.';
            end if;
        end;
        perform pg_sleep(0.3);
    end loop;

    for entry in
        select
            models.next,
            coalesce(nspowner::regrole::text, quote_ident(current_user)) as owner
        from ({{ models_of_schemas() }}) as models
        left join pg_namespace
            on models.model = pg_namespace.oid
    loop
        execute format('create schema %I authorization %s', entry.next, entry.owner);
    end loop;
exception when insufficient_privilege then
    raise exception
        '% may not do what a build does in this database: %. With roles, set PGUSER to the transformer. '
        'Otherwise run as a superuser: python -m ingest init',
        current_user, sqlerrm;
end
$open$;
{{ copy_schema_rights() }}
{{ clear_old_editions(0) }}
{% endmacro %}

{#- SQL that goes on with the edition of the build that failed: it keeps its runs, and gets the id of this build. -#}
{% macro resume_edition() %}
{% set meta = beside(marts_meta()) %}
{% set failed = meta.incorporate(path={'identifier': 'failed_build'}) %}
{{ require_failed_build(failed) }}
drop table {{ failed }};
update {{ meta }} set build_id = '{{ invocation_id }}';
{{ hold_runs() }}
{% endmacro %}

{% macro require_failed_build(failed) %}
    {{ return(adapter.dispatch('require_failed_build')(failed)) }}
{% endmacro %}

{% macro default__require_failed_build(failed) %}
select error('There is no failed build to go on with: what it built is gone. Build again: {{ build_command() }}')
where not exists (
    select 1 from duckdb_tables()
    where database_name = current_database()
        and schema_name = '{{ marts_meta().schema }}'
        and table_name = 'failed_build'
);
{% endmacro %}

{% macro postgres__require_failed_build(failed) %}
do $require$
begin
    if to_regclass('{{ failed.include(database=false) }}') is null then
        raise exception 'There is no failed build to go on with: what it built is gone. Build again: %',
            '{{ build_command() }}';
    end if;
end
$require$;
{% endmacro %}
