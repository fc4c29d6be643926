{#- The declared foreign keys (see `declared_foreign_keys`) between two different tables that this run builds. -#}
{% macro foreign_keys_within_run() %}
    {% set keys = [] %}
    {% for key in declared_foreign_keys() if key.child_id != key.parent_id %}
        {% if key.child_id in selected_resources and key.parent_id in selected_resources %}
            {% do keys.append(key) %}
        {% endif %}
    {% endfor %}
    {{ return(keys) }}
{% endmacro %}
