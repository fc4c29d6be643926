{#-
  PL/pgSQL that adds foreign keys where they are missing. One block adds them in a fixed order under one advisory
  lock, so that threads never deadlock, and it takes no lock that would block readers unless a key has to be dropped
  first.

  A key whose table does not exist yet is left to that table's own build; with `is_built_only`, so is a key whose
  table this run has not yet replaced. A value that the parent lacks ends in an error that says what to rebuild.
-#}
{% macro foreign_key_sql(keys, advice, is_built_only=false) %}
do $foreign_keys$
declare
    wanted record;
begin
    perform pg_advisory_xact_lock(hashtext('foreign keys of the marts'));
    for wanted in
        select name, child, child_column, parent, parent_column
        from (values
            {%- for key in keys %}
            (
                '{{ key.name }}',
                '{{ key.child.include(database=false) }}',
                '{{ key.column }}',
                '{{ key.parent.include(database=false) }}',
                '{{ key.to_column }}'
            ){{ ',' if not loop.last }}
            {%- endfor %}
        ) as declared (name, child, child_column, parent, parent_column)
        where to_regclass(child) is not null
            and to_regclass(parent) is not null
            {%- if is_built_only %}
            and (
                select count(*)
                from pg_constraint
                where contype = 'p'
                    and conrelid in (to_regclass(child), to_regclass(parent))
                    and obj_description(oid, 'pg_constraint') = '{{ invocation_id }}'
            ) = 2
            {%- endif %}
            and not exists (
                select 1
                from pg_constraint
                where conname = declared.name
                    and contype = 'f'
                    and conrelid = to_regclass(child)
                    and confrelid = to_regclass(parent)
                    and convalidated
            )
        order by name
    loop
        begin
            if exists (
                select 1
                from pg_constraint
                where conname = wanted.name
                    and conrelid = to_regclass(wanted.child)
            ) then
                execute format('alter table %s drop constraint %I', wanted.child, wanted.name);
            end if;
            execute format(
                'alter table %s add constraint %I foreign key (%I) references %s (%I)',
                wanted.child, wanted.name, wanted.child_column, wanted.parent, wanted.parent_column
            );
        exception when foreign_key_violation then
            raise exception using
                errcode = 'foreign_key_violation',
                message = format(
                    '%s.%s holds values that %s does not hold any more: one of the two was built from other data. '
                    '{{ advice }}',
                    wanted.child, wanted.child_column, wanted.parent
                ),
                detail = sqlerrm;
        end;
    end loop;
end
$foreign_keys$
{% endmacro %}
