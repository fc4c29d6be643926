{#-
  Post-hook, inside the model's transaction: the foreign keys that this model declares to itself and to tables that this run does not build. If one does not hold, the model fails and
  the table before stays. For those that are built beside it see `add_foreign_keys_between_built`.

  On DuckDB nothing is added: it cannot add a foreign key to an existing table, and refuses to replace a table that one refers to. There, the relationships tests, which
  each declared key must have (the test `foreign_keys_present` sees to it), are what checks them.
-#}
{% macro add_own_foreign_keys() %}
    {{ return(adapter.dispatch('add_own_foreign_keys')()) }}
{% endmacro %}

{% macro default__add_own_foreign_keys() %}
{% endmacro %}

{% macro postgres__add_own_foreign_keys() %}
    {% if execute %}
        {% set keys = [] %}
        {% for key in declared_foreign_keys() if key.child_id == model.unique_id and (key.parent_id == model.unique_id or key.parent_id not in selected_resources) %}
            {% do keys.append(key) %}
        {% endfor %}
        {% if keys %}
            {{ foreign_key_sql(keys, 'Build it with all that it refers to: dbt build -s +' ~ model.name) }}
        {% endif %}
    {% endif %}
{% endmacro %}
