{#-
  At the start of every run: the foreign keys between tables that the run builds. They would go with the tables in any case; while two that refer to each other's neighbours are replaced
  side by side, each would wait for the other.
-#}
{% macro drop_foreign_keys_within_run() %}
    {{ return(adapter.dispatch('drop_foreign_keys_within_run')()) }}
{% endmacro %}

{% macro default__drop_foreign_keys_within_run() %}
{% endmacro %}

{% macro postgres__drop_foreign_keys_within_run() %}
    {% if execute %}
        {% for key in foreign_keys_within_run() %}
            alter table if exists {{ key.child }} drop constraint if exists {{ adapter.quote(key.name) }};
        {% endfor %}
    {% endif %}
{% endmacro %}
