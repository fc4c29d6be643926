{#-
  The foreign keys of the marts, one for each relationships test between two of them, sorted by name: what is tested
  everywhere is a constraint where the database can have it. DuckDB cannot add one to an existing table.
-#}
{% macro declared_foreign_keys() %}
    {% set keys = [] %}
    {% set nodes = graph.nodes.values() if execute else [] %}
    {% for test in nodes if test.resource_type == 'test' and test.get('test_metadata') %}
        {% set child = graph.nodes.get(test.attached_node) %}
        {% if test.test_metadata.name == 'relationships' and child and 'marts' in child.fqn %}
            {% set parent_ids = test.depends_on.nodes | reject('equalto', test.attached_node) | list %}
            {% set parent = graph.nodes[parent_ids[0] if parent_ids else test.attached_node] %}
            {% if 'marts' in parent.fqn %}
            {% do keys.append({
                'name': child.alias ~ '_' ~ test.column_name ~ '_fkey',
                'child': api.Relation.create(schema=child.schema, identifier=child.alias),
                'column': test.column_name,
                'parent': api.Relation.create(schema=parent.schema, identifier=parent.alias),
                'to_column': test.test_metadata.kwargs.field,
                'models': [child.unique_id, parent.unique_id],
            }) %}
            {% endif %}
        {% endif %}
    {% endfor %}
    {{ return(keys | sort(attribute='name')) }}
{% endmacro %}
