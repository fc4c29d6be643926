{#-
  SQL that copies what is not the project's from the published file into the new one: tables with their indexes when a
  build begins, views, which may read the marts, when it ends. The whole file is replaced, and nothing that somebody
  made there may be lost with it. Functions cannot be copied; the log names them.
-#}
{% macro carry_over(views=false) %}
    {% set ours = optional_marts() + former_marts() %}
    {% for name in ['marts_meta', 'fold_name', 'locate', 'locate_points'] %}
        {% do ours.append(with_dataset('marts') ~ '.' ~ name) %}
    {% endfor %}
    {% for node in graph.nodes.values() if node.resource_type in ('model', 'seed', 'snapshot') %}
        {% do ours.append(node.schema ~ '.' ~ node.alias) %}
    {% endfor %}
    {% set theirs = run_query("
        with

        objects as (

            select database_name, schema_name, table_name as name, sql, 'table' as kind, 1 as step
            from duckdb_tables()
            union all
            select database_name, schema_name, index_name, sql, 'index', 2
            from duckdb_indexes()
            where sql is not null
            union all
            select database_name, schema_name, view_name, sql, 'view', 3
            from duckdb_views()
            union all
            select distinct database_name, schema_name, function_name, '', 'function', 4
            from duckdb_functions()

        )

        select schema_name, name, sql, kind
        from objects
        where database_name = 'published'
            -- the file of a partial build is a copy, in which they are already
            and not exists (
                select 1
                from objects as copied
                where copied.database_name = '" ~ target.database ~ "'
                    and copied.schema_name = objects.schema_name
                    and copied.name = objects.name
                    and copied.kind = objects.kind
            )
        order by step, schema_name, name
    ") %}
    {% set wanted = ['view'] if views else ['table', 'index'] %}
    {% for row in theirs.rows if row[3] in wanted and (row[0] ~ '.' ~ row[1]) not in ours %}
create schema if not exists {{ adapter.quote(row[0]) }};
{{ row[2].rstrip(';') }};
        {% if row[3] == 'table' %}
insert into {{ adapter.quote(row[0]) }}.{{ adapter.quote(row[1]) }}
by name select * from published.{{ adapter.quote(row[0]) }}.{{ adapter.quote(row[1]) }};
        {% endif %}
    {% endfor %}
    {% for row in theirs.rows if row[3] == 'function' and not views and (row[0] ~ '.' ~ row[1]) not in ours %}
        {% do log('Function ' ~ row[0] ~ '.' ~ row[1] ~ ' of ' ~ target.database ~ '.duckdb is not made by this '
            ~ 'project and is left behind: create it again, or keep it in a file of its own.', info=true) %}
    {% endfor %}
{% endmacro %}
