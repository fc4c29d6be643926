{#-
  Post-hook, after the commit: the foreign keys between this table and others that the same run builds, as far as both are there. Tables are built side by side, in no order: of two that a
  key connects, the one that is finished last adds it.
-#}
{% macro add_foreign_keys_between_built() %}
    {{ return(adapter.dispatch('add_foreign_keys_between_built')()) }}
{% endmacro %}

{% macro default__add_foreign_keys_between_built() %}
{% endmacro %}

{% macro postgres__add_foreign_keys_between_built() %}
    {% if execute %}
        {% set keys = [] %}
        {% for key in foreign_keys_within_run() if model.unique_id in (key.child_id, key.parent_id) %}
            {% do keys.append(key) %}
        {% endfor %}
        {% if keys %}
            {{ foreign_key_sql(keys, 'Build both together: dbt build -s marts', is_built_only=true) }}
        {% endif %}
    {% endif %}
{% endmacro %}
