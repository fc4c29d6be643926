{#-
  SQL that drops what an edition has replaced, once every transaction that may still read it has ended: at most so many
  tenths of a second are spent on waiting, and what cannot be dropped is left to the next build.
-#}
{% macro clear_old_editions(patience) %}
{% set marts = with_dataset('marts') %}
do $clear$
declare
    readers constant text[] := array(
        select virtualtransaction
        from pg_locks
        inner join pg_stat_activity using (pid)
        where locktype = 'virtualxid'
            and pid <> pg_backend_pid()
            and datname = current_database()
            and backend_type = 'client backend'
    );
    current text;
    entry record;
begin
    perform set_config('lock_timeout', '300ms', true);
    for tenths in 1..{{ patience }} loop
        exit when not exists (select from pg_locks where virtualtransaction = any(readers));
        perform pg_sleep(0.1);
    end loop;
    {% if patience %}
    if exists (select from pg_locks where virtualtransaction = any(readers)) then
        return;
    end if;
    {% endif %}
    if to_regclass('{{ marts }}.marts_meta') is not null then
        execute 'select left(build_id, 8) from {{ marts }}.marts_meta limit 1' into current;
    end if;
    for entry in
        select nspname as name
        from pg_namespace
        -- the lookup functions of each edition have a schema of their own
        where nspname ~ '^({{ edition_schemas() | join('|') }})_old_[0-9a-f]{8}$|^{{ marts }}_edition_[0-9a-f]{8}$'
            and nspname is distinct from '{{ marts }}_edition_' || current
    loop
        begin
            execute format('drop schema %I cascade', entry.name);
        exception when lock_not_available then
            null;
        end;
    end loop;
end
$clear$;
{% endmacro %}
