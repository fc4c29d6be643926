{#-
  Post-hook, inside the model's transaction: adds the foreign keys from this model to itself and to tables that this
  run does not build. If one is violated, the model fails and the previous table stays. Keys to tables built in the
  same run are left to `add_foreign_keys_between_built`.

  Nothing is added on DuckDB, which cannot add a foreign key to an existing table and refuses to replace a table that
  one refers to. There the relationships tests check the keys; the test `foreign_keys_present` makes sure that every
  declared key has one.
-#}
{% macro add_own_foreign_keys() %}
    {{ return(adapter.dispatch('add_own_foreign_keys')()) }}
{% endmacro %}

{% macro default__add_own_foreign_keys() %}
{% endmacro %}

{% macro postgres__add_own_foreign_keys() %}
    {% if execute %}
        {% set keys = [] %}
        {% for key in declared_foreign_keys() if key.child_id == model.unique_id %}
            {% if key.parent_id == model.unique_id or key.parent_id not in selected_resources %}
                {% do keys.append(key) %}
            {% endif %}
        {% endfor %}
        {% if keys %}
            {{ foreign_key_sql(keys, 'Build it with all that it refers to: dbt build -s +' ~ model.name) }}
        {% endif %}
    {% endif %}
{% endmacro %}
