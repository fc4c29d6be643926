{#-
  At the end of every run: the net below the post-hooks. A run that failed half-way has rebuilt parents and skipped their children; whatever declared foreign key is missing
  between existing tables is added here.
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
