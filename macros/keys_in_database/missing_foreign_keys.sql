{#-
  A select that returns one row per declared foreign key that lacks a relationships test, or that is missing or not
  validated in the database.
-#}
{% macro missing_foreign_keys() %}
    {% if execute %}
        {% set keys = declared_foreign_keys() %}
        {% if not keys %}
            {% do exceptions.raise_compiler_error('No model declares a foreign key.') %}
        {% endif %}
        {% set tested = [] %}
        {% for node in graph.nodes.values() | selectattr('resource_type', 'equalto', 'test') %}
            {% if node.test_metadata and node.test_metadata.name == 'relationships' and node.attached_node %}
                {% for parent_id in node.depends_on.nodes %}
                    {% do tested.append(node.attached_node ~ ' ' ~ node.column_name ~ ' ' ~ parent_id) %}
                {% endfor %}
            {% endif %}
        {% endfor %}
        {{ missing_foreign_keys_in_database(keys) }}
        {% for key in keys if (key.child_id ~ ' ' ~ key.column ~ ' ' ~ key.parent_id) not in tested %}
        union all
        select
            '{{ key.name }}' as name,
            'no relationships test' as fault
        {% endfor %}
    {% else %}
        select 1
    {% endif %}
{% endmacro %}
