{#- The levels of the dataset whose files do not say which unit of the level above a unit belongs to. -#}
{% macro levels_with_parents_by_geometry() %}
    {% set found = [] %}
    {% for level in admin_levels() %}
        {% set node = graph.get('nodes', {}).get('model.admin_boundaries.stg_' ~ boundaries() ~ '__adm_' ~ level, {}) %}
        {% if node.get('config', {}).get('meta', {}).get('has_parents_by_geometry') %}
            {% do found.append(level) %}
        {% endif %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}
