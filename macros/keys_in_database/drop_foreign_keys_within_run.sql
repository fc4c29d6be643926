{#-
  At the start of every run: drops the foreign keys between tables that the run rebuilds. They would be dropped with
  the tables anyway; dropping them first avoids a deadlock when two such tables are replaced in parallel.
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
