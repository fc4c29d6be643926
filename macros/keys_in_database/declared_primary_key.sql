{#-
  The columns of the primary key that a model's contract declares, one or several; an empty list where it declares
  none. A snapshot, which has no contract, has one row for a key and the time from which it was valid.
-#}
{% macro declared_primary_key(node) %}
    {% if node.resource_type == 'snapshot' %}
        {{ return([node.config.unique_key, times_of(node)[0]]) }}
    {% endif %}
    {% for constraint in node.get('constraints', []) if constraint.type == 'primary_key' %}
        {{ return(constraint.columns) }}
    {% endfor %}
    {% for column in node['columns'].values() %}
        {% for constraint in column.get('constraints', []) if constraint.type == 'primary_key' %}
            {{ return([column.name]) }}
        {% endfor %}
    {% endfor %}
    {{ return([]) }}
{% endmacro %}
