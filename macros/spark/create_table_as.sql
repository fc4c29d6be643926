{#-
  Tables on Spark: dbt-spark's `create table`, at the address that this build writes to, and with geometry as
  GeoParquet. The catalog lives as long as the session, so that descriptions in it would have no reader.
-#}
{% macro spark__location_clause() %}
    location '{{ adapter.place_of(model.schema, model.alias, spark_format()) }}'
{% endmacro %}

{% macro spark__file_format_clause() %}
    using {{ spark_format() }}
{% endmacro %}

{% macro spark_format() -%}
    {{ return('geoparquet' if 'geom' in model.columns else 'parquet') }}
{%- endmacro %}

{% macro spark__comment_clause() %}
{% endmacro %}

{% macro spark__persist_docs(relation, model, for_relation, for_columns) %}
{% endmacro %}

{#- Views are made again in each session, by the text that is noted here. -#}
{% macro spark__create_view_as(relation, sql) %}
    {% do adapter.note_view(relation.schema, relation.identifier, sql) %}
    create or replace view {{ relation }} as
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
            {% do exceptions.raise_compiler_error(relation ~ '.' ~ name ~ ' is NULL in ' ~ found.rows[0][name]
                ~ ' rows, which its contract forbids.') %}
        {% endfor %}
    {% endif %}
    {% if key %}
        {% set keys = key | join(', ') %}
        {% if run_query('select ' ~ keys ~ ' from ' ~ relation ~ ' group by ' ~ keys ~ ' having count(*) > 1 limit 1')
            .rows %}
            {% do exceptions.raise_compiler_error('Some rows of ' ~ relation ~ ' have one key: ' ~ keys ~ '.') %}
        {% endif %}
    {% endif %}
{% endmacro %}
