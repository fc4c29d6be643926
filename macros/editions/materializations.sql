{#-
  Tables and views of PostgreSQL, built beside those that readers see. There is something to be replaced only in a
  retry, where a model failed after its table was there.
-#}
{% materialization table, adapter='postgres', supported_languages=['sql', 'python'] %}
    {% set built = beside(this).incorporate(type='table') %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% do adapter.drop_relation(built) %}
    {% if model.language == 'python' %}
        {% call statement('table') -%}
            create table {{ built }} {{ get_table_columns_and_constraints() }}
        {%- endcall %}
        {% call dbt.statement('main', language='python') -%}
            {{ python_model_into_postgres(built) }}
        {%- endcall %}
    {% else %}
        {% call statement('main') -%}
            {{ get_create_table_as_sql(False, built, sql) }}
        {%- endcall %}
    {% endif %}
    {% do create_indexes(built) %}
    {{ return(finish_beside(built)) }}
{% endmaterialization %}

{% materialization view, adapter='postgres' %}
    {% set built = beside(this).incorporate(type='view') %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% do adapter.drop_relation(built) %}
    {% call statement('main') -%}
        {{ get_create_view_as_sql(built, sql) }}
    {%- endcall %}
    {{ return(finish_beside(built)) }}
{% endmaterialization %}

{#-
  Tables of DuckDB, where the whole file is beside the one that readers see. dbt-duckdb's materialization is for SQL:
  dbt runs Python only for its own `statement`, called from a materialization itself.
-#}
{% materialization table, adapter='duckdb', supported_languages=['sql', 'python'] %}
    {% if model.language == 'sql' %}
        {{ return(dbt.materialization_table_duckdb()) }}
    {% endif %}
    {% set built = this.incorporate(type='table') %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% do adapter.drop_relation(built) %}
    {% call dbt.statement('main', language='python') -%}
        {{ python_model_in_duckdb(built) }}
    {%- endcall %}
    {% do create_indexes(built) %}
    {{ return(finish_beside(built)) }}
{% endmaterialization %}

{% macro finish_beside(built) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do apply_grants(built, config.get('grants'), should_revoke=False) %}
    {% do persist_docs(built, model) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [built]}) }}
{% endmacro %}

{#- Unit tests take the types of their fixtures from the tables of the edition in progress, if it has them. -#}
{% macro postgres__get_columns_in_relation(relation) %}
    {{ return(dbt.postgres__get_columns_in_relation(beside(relation) if is_in_progress(relation) else relation)) }}
{% endmacro %}
