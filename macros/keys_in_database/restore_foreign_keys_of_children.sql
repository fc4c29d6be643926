{#-
  Post-hook, after the commit: rebuilding this table has dropped the foreign keys that refer to it. This restores them
  for the children that the run does not build; for the others see `add_foreign_keys_between_built`.
-#}
{% macro restore_foreign_keys_of_children() %}
    {{ return(adapter.dispatch('restore_foreign_keys_of_children')()) }}
{% endmacro %}

{% macro default__restore_foreign_keys_of_children() %}
{% endmacro %}

{% macro postgres__restore_foreign_keys_of_children() %}
    {% if execute %}
        {% set keys = [] %}
        {% for key in declared_foreign_keys() if key.parent_id == model.unique_id %}
            {% if key.child_id not in selected_resources %}
                {% do keys.append(key) %}
            {% endif %}
        {% endfor %}
        {% if keys %}
            {{ foreign_key_sql(keys, 'Rebuild the tables that refer to it as well: dbt build -s ' ~ model.name ~ '+') }}
        {% endif %}
    {% endif %}
{% endmacro %}
