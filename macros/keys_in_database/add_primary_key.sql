{#-
  Post-hook, inside the model's transaction: adds the primary key that the contract declares. DuckDB has it from
  `create table` on.
-#}
{% macro add_primary_key() %}
    {{ return(adapter.dispatch('add_primary_key')()) }}
{% endmacro %}

{% macro default__add_primary_key() %}
{% endmacro %}

{% macro postgres__add_primary_key() %}
    {% set columns = declared_primary_key(model) %}
    {% if execute and columns and model.config.materialized in ['table', 'snapshot'] %}
alter table {{ beside(this) }} add primary key ({{ columns | join(', ') }})
    {% endif %}
{% endmacro %}
