{#-
  Collects statistics as soon as a table is built, because PostgreSQL would otherwise plan the next models as if it
  were nearly empty. Geometry is left out, since sampling it means reading it. DuckDB keeps statistics by itself.
-#}
{% macro analyze_table() %}
    {{ return(adapter.dispatch('analyze_table')()) }}
{% endmacro %}

{% macro default__analyze_table() %}
{% endmacro %}

{% macro postgres__analyze_table() %}
    {% if execute and model.config.materialized in ['table', 'snapshot'] %}
        {% set analyzed = adapter.get_columns_in_relation(beside(this)) | rejectattr('name', 'equalto', 'geom') %}
        analyze {{ beside(this) }} ({{ analyzed | map(attribute='name') | join(', ') }})
    {% endif %}
{% endmacro %}
