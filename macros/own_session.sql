{#-
  Begins every statement of dbt with settings of our own, whatever the role, the database or the environment say: the
  same as those of `ingest/sessions.py`, where the reasons stand. dbt has no hook for a new session, so they are set
  again and again, which takes a fraction of a millisecond. The search path finds PostGIS in whatever schema it is, and
  nothing that somebody else put elsewhere. DuckDB needs none of this.

  psycopg2 itself encodes the text of statements, so that it has to be told of another encoding. It breaks off a
  transaction for it, hence before the first one.
-#}
{% macro own_session() %}
    {{ return(adapter.dispatch('own_session')()) }}
{% endmacro %}

{% macro default__own_session() %}
{% endmacro %}

{% macro postgres__own_session() %}
    {% set answer = adapter.add_query(own_settings(), auto_begin=false) %}
    {% set session = answer[0].handle %}
    {% if session.encoding != 'UTF8' %}
        {% do session.set_client_encoding('UTF8') %}
        {% do adapter.add_query(own_settings(), auto_begin=false) %}
    {% endif %}
{% endmacro %}

{% macro own_settings() %}
    set statement_timeout = 0;
    set search_path = pg_catalog, pg_temp;
    select
        set_config('search_path', concat_ws(
            ', ',
            'pg_catalog',
            (
                select quote_ident(nspname)
                from pg_extension
                inner join pg_namespace
                    on pg_extension.extnamespace = pg_namespace.oid
                where extname = 'postgis'
            ),
            'pg_temp'
        ), false),
        set_config(name, value, false),
        case
            when current_setting('server_version_num')::integer >= 140000 and position('linux' in version()) > 0
                then set_config('client_connection_check_interval', '5s', false)
        end
    from (values
        ('standard_conforming_strings', 'on'),
        ('DateStyle', 'ISO, MDY'),
        ('IntervalStyle', 'postgres'),
        ('TimeZone', 'UTC'),
        ('bytea_output', 'hex'),
        ('extra_float_digits', '1'),
        ('quote_all_identifiers', 'off'),
        ('default_transaction_isolation', 'read committed'),
        ('row_security', 'off'),
        ('statement_timeout', '0'),
        ('lock_timeout', '0'),
        ('idle_in_transaction_session_timeout', '0')
    ) as wanted (name, value)
{% endmacro %}

{#- dbt's own macro through which all of its SQL goes, and before that, on PostgreSQL, the settings. -#}
{% macro statement(name=none, fetch_result=false, auto_begin=true, language='sql') %}
    {% if execute %}
        {% set compiled_code = caller() %}
        {% if name == 'main' %}
            {% do log('Writing runtime SQL for node "' ~ model['unique_id'] ~ '"') %}
            {% do write(compiled_code) %}
        {% endif %}
        {% do own_session() %}
        {% set answer, table = adapter.execute(compiled_code, auto_begin=auto_begin, fetch=fetch_result) %}
        {% if name is not none %}
            {% do store_result(name, response=answer, agate_table=table) %}
        {% endif %}
    {% endif %}
{% endmacro %}
