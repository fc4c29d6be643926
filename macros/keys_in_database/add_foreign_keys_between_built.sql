{#-
  Post-hook, after the commit: adds the foreign keys between this table and others built in the same run, as far as
  both exist. Tables are built in parallel and finish in any order, so whichever of the two finishes last adds the
  key.
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
