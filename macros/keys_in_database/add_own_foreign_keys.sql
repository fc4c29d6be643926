{#-
  Post-hook, inside the model's transaction: the foreign keys that this model declares. If one does not hold, the model fails and the table before stays.

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
        {% set keys = declared_foreign_keys() | selectattr('child_id', 'equalto', model.unique_id) | list %}
        {% if keys %}
            {{ foreign_key_sql(keys, 'Build it with all that it refers to: dbt build -s +' ~ model.name) }}
        {% endif %}
    {% endif %}
{% endmacro %}
