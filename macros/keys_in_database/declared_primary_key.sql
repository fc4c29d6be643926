{#-
  The columns of the primary key that a model's contract declares, one or several; an empty list where it declares
  none.
-#}
{% macro declared_primary_key(node) %}
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
