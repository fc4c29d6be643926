{#-
  At the end of every run: a safety net for the post-hooks. A run that fails half-way has rebuilt parents and skipped
  their children, so every declared foreign key that is missing between existing tables is added here.
-#}
{% macro add_missing_foreign_keys() %}
    {{ return(adapter.dispatch('add_missing_foreign_keys')()) }}
{% endmacro %}

{% macro default__add_missing_foreign_keys() %}
{% endmacro %}

{% macro postgres__add_missing_foreign_keys() %}
    {% if execute %}
        {% set keys = declared_foreign_keys() %}
        {% if keys %}
            {{ foreign_key_sql(keys, 'Rebuild both: dbt build -s marts') }}
        {% endif %}
    {% endif %}
{% endmacro %}
