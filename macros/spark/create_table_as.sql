{#-
  Tables on Spark are folders of files, at an address that this build alone writes to, with geometry as GeoParquet. In
  the session they are temporary views, as all else: those are its own, also on a server that is shared with others.
-#}
{% macro spark__create_table_as(temporary, relation, compiled_code, language='sql') %}
    {% if temporary %}
        {{ return(create_temporary_view(relation, compiled_code)) }}
    {% endif %}
    {% set format = 'geoparquet' if 'geom' in model.columns else 'parquet' %}
    {% if config.get('contract').enforced %}
        {{ get_assert_columns_equivalent(compiled_code) }}
        {% set compiled_code = get_select_subquery(compiled_code) %}
    {% endif %}
    {{ write_table(relation, format, compiled_code) }}
{% endmacro %}

{#- A statement after which the adapter makes a view of what it wrote. -#}
{% macro write_table(relation, format, sql) %}
    insert overwrite directory '{{ adapter.place_of(relation.schema, relation.identifier, format) }}' using {{ format }}
    {{ sql }}
{% endmacro %}

{% macro spark__drop_relation(relation) %}
    {% call statement('drop_relation', auto_begin=false) %}
        drop view if exists {{ relation }}
    {% endcall %}
{% endmacro %}

{#- There are no schemas: what is called one is the beginning of a name. -#}
{% macro spark__create_schema(relation) %}
{% endmacro %}

{#- Descriptions in the session would have no reader. -#}
{% macro spark__persist_docs(relation, model, for_relation, for_columns) %}
{% endmacro %}

{#- Views are made again in each session, by the text that is noted here. -#}
{% macro spark__create_view_as(relation, sql) %}
    {% do adapter.note_view(relation.schema, relation.identifier, sql) %}
    create or replace temporary view {{ relation }} as
    {{ sql }}
{% endmacro %}

{#-
  What a contract declares, Spark's tables cannot enforce: rows that break it are looked for before anything reads the
  table, which then fails its model as on the other targets.
-#}
{% macro spark__persist_constraints(relation, model) %}
    {% set key = declared_primary_key(model) %}
    {% set needed = key | list %}
    {% for column in model.columns.values() if column.constraints | selectattr('type', 'equalto', 'not_null') | list %}
        {% do needed.append(column.name) %}
    {% endfor %}
    {% set counts = [] %}
    {% for name in needed | unique %}
        {% do counts.append('count_if(' ~ name ~ ' is null) as ' ~ name) %}
    {% endfor %}
    {% if counts %}
        {% set found = run_query('select ' ~ counts | join(', ') ~ ' from ' ~ relation) %}
        {% for name in needed | unique if found.rows[0][name] > 0 %}
            {% do exceptions.raise_compiler_error(relation.identifier ~ '.' ~ name ~ ' is NULL in '
                ~ found.rows[0][name] ~ ' rows, which its contract forbids.') %}
        {% endfor %}
    {% endif %}
    {% if key %}
        {% set keys = key | join(', ') %}
        {% if run_query('select ' ~ keys ~ ' from ' ~ relation ~ ' group by ' ~ keys ~ ' having count(*) > 1 limit 1')
            .rows %}
            {% do exceptions.raise_compiler_error('Some rows of ' ~ relation.identifier ~ ' have one key: ' ~ keys
                ~ '.') %}
        {% endif %}
    {% endif %}
{% endmacro %}
