{#-
  Statistics right after a table is built: what is built next from it would otherwise be planned as if it were nearly empty. Geometry is left out, since
  looking at a sample of it would read it. DuckDB keeps statistics by itself.
-#}
{% macro analyze_table() %}
    {{ return(adapter.dispatch('analyze_table')()) }}
{% endmacro %}

{% macro default__analyze_table() %}
{% endmacro %}

{% macro postgres__analyze_table() %}
    {% if execute and model.config.materialized == 'table' %}
        {% set columns = adapter.get_columns_in_relation(this) | rejectattr('name', 'equalto', 'geom') | map(attribute='name') | list %}
        analyze {{ this }} ({{ columns | join(', ') }})
    {% endif %}
{% endmacro %}
