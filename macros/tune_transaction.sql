{#-
  Pre-hook: settings for the transaction that builds a table; DuckDB needs none.

  Coordinates barely shrink, and PostgreSQL's default compressor (pglz) spends more time on them than everything else
  takes together; lz4 does not (it is set only where the server was built with it). Whole-world joins and index builds
  deserve more memory than the server's defaults for small queries, and compiling them (jit) costs more than it saves.
  Models before the marts are built one after another while the other cores are idle, so parallel workers are cheaper
  than the defaults assume. And a session whose dbt was killed ends within a second, not when its table is finished.
-#}
{% macro tune_transaction() %}
    {{ return(adapter.dispatch('tune_transaction')()) }}
{% endmacro %}

{% macro default__tune_transaction() %}
{% endmacro %}

{% macro postgres__tune_transaction() %}
    select set_config(wanted.name, wanted.value, true)
    from (values
        ('default_toast_compression', 'lz4'),
        ('work_mem', '64MB'),
        ('maintenance_work_mem', '256MB'),
        ('parallel_setup_cost', '100'),
        ('parallel_tuple_cost', '0.001'),
        ('jit', 'off'),
        ('client_connection_check_interval', '1000')
    ) as wanted (name, value)
    inner join pg_settings
        on wanted.name = pg_settings.name
        and (pg_settings.enumvals is null or wanted.value = any(pg_settings.enumvals))
    -- servers on other systems refuse it
    where wanted.name <> 'client_connection_check_interval'
        or version() like '%linux%'
{% endmacro %}
