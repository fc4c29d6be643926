{#-
  SQL that copies what is not the project's from the published file into the new one: tables with their indexes when a
  build begins, views, which may read the marts, when it ends. The whole file is replaced, and nothing that somebody
  made there may be lost with it. Functions cannot be copied; the log names them.
-#}
{% macro carry_over(views=false) %}
    {% set ours = ['marts.marts_meta', 'marts.failed_build'] %}
    {% for node in graph.nodes.values() if node.resource_type in ('model', 'seed', 'snapshot') %}
        {% do ours.append(node.schema ~ '.' ~ node.alias) %}
    {% endfor %}
    {% set tables = run_query("
        select schema_name, table_name as name, sql, 'table' as kind, 1 as step
        from duckdb_tables()
        where database_name = 'published' and not temporary
        union all
        select schema_name, view_name, sql, 'view', 3
        from duckdb_views()
        where database_name = 'published' and not internal
        union all
        select schema_name, index_name, sql, 'index', 2
        from duckdb_indexes()
        where database_name = 'published' and sql is not null
        order by step, schema_name, name
    ") %}
    {% set wanted = ['view'] if views else ['table', 'index'] %}
    {% for row in tables.rows if row[3] in wanted and (row[0] ~ '.' ~ row[1]) not in ours %}
create schema if not exists {{ adapter.quote(row[0]) }};
{{ row[2].rstrip(';') }};
        {% if row[3] == 'table' %}
insert into {{ adapter.quote(row[0]) }}.{{ adapter.quote(row[1]) }}
by name select * from published.{{ adapter.quote(row[0]) }}.{{ adapter.quote(row[1]) }};
        {% endif %}
    {% endfor %}
    {% set functions = run_query("
        select distinct schema_name || '.' || function_name
        from duckdb_functions()
        where database_name = 'published' and not internal
            and schema_name || '.' || function_name not in ('marts.fold_name', 'marts.locate', 'marts.locate_points')
    ") %}
    {% for row in functions.rows if not views %}
        {% do log('Function ' ~ row[0] ~ ' of warehouse.duckdb is not made by this project and is left behind: '
            ~ 'create it again, or keep it in a file of its own.', info=true) %}
    {% endfor %}
{% endmacro %}
