{#-
  Post-hook, after the commit: adds the foreign keys between this table and others of the edition in progress, as far
  as both are there. Tables are built side by side and end in any order, so whichever of the two ends last adds the key.
  Those to tables that the build leaves as they are come when all are there, in `put_before_readers`.
-#}
{% macro add_foreign_keys() %}
    {{ return(adapter.dispatch('add_foreign_keys')()) }}
{% endmacro %}

{% macro default__add_foreign_keys() %}
{% endmacro %}

{% macro postgres__add_foreign_keys() %}
    {% set keys = [] %}
    {% for key in declared_foreign_keys() if model.unique_id in key.models %}
        {% do keys.append(key) %}
    {% endfor %}
    {% if keys %}
        {{ foreign_key_sql(keys, is_built=true) }}
    {% endif %}
{% endmacro %}

{#-
  PL/pgSQL that adds foreign keys where they are missing, in a fixed order under one advisory lock, so that threads
  never deadlock. No reader waits for it. A table of the edition in progress comes before one that readers see. With
  `is_built`, a key is left for later unless both its tables are of the edition.

  A key to a new parent that a table of the readers gets is called `…__next` until the edition is published.
-#}
{% macro foreign_key_sql(keys, is_built=false) %}
do $foreign_keys$
declare
    wanted record;
begin
    perform pg_advisory_xact_lock(hashtext('foreign keys of the marts'));
    for wanted in
        select
            name || case when next_child is null and next_parent is not null then '__next' else '' end as name,
            coalesce(next_child, old_child) as child,
            child_column,
            coalesce(next_parent, old_parent) as parent,
            parent_column
        from (values
            {%- for key in keys %}
            (
                '{{ key.name }}',
                to_regclass('{{ beside(key.child) }}'),
                to_regclass('{{ key.child }}'),
                '{{ key.column }}',
                to_regclass('{{ beside(key.parent) }}'),
                to_regclass('{{ key.parent }}'),
                '{{ key.to_column }}'
            ){{ ',' if not loop.last }}
            {%- endfor %}
        ) as declared (name, next_child, old_child, child_column, next_parent, old_parent, parent_column)
        where {{ 'next_child is not null and next_parent is not null' if is_built else 'true' }}
            and coalesce(next_child, old_child) is not null
            and coalesce(next_parent, old_parent) is not null
            and not exists (
                select 1
                from pg_constraint
                where contype = 'f'
                    and conrelid = coalesce(next_child, old_child)
                    and confrelid = coalesce(next_parent, old_parent)
                    and conname in (declared.name, declared.name || '__next')
                    and convalidated
            )
        order by declared.name
    loop
        begin
            execute format(
                'alter table %s add constraint %I foreign key (%I) references %s (%I)',
                wanted.child, wanted.name, wanted.child_column, wanted.parent, wanted.parent_column
            );
        exception when foreign_key_violation then
            raise exception using
                errcode = 'foreign_key_violation',
                message = format(
                    '%s.%s holds values that %s does not hold: one of the two was built from other data. '
                    'Build both: {{ build_command() }}',
                    wanted.child, wanted.child_column, wanted.parent
                ),
                detail = sqlerrm;
        end;
    end loop;
end
$foreign_keys$;
{% endmacro %}
