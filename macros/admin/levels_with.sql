{#- The levels of the dataset whose staging views say something in their `meta`, such as `has_parents_by_geometry`. -#}
{% macro levels_with(property) %}
    {% set found = [] %}
    {% for level in admin_levels() %}
        {% set node = graph.get('nodes', {}).get('model.admin_boundaries.stg_' ~ boundaries() ~ '__adm_' ~ level, {}) %}
        {% if node.get('config', {}).get('meta', {}).get(property) %}
            {% do found.append(level) %}
        {% endif %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}
