{#-
  The foreign keys that models declare in their yml, as a list of {name, child, column, parent, to_column, child_id,
  parent_id}, sorted by name:

      config: {meta: {foreign_keys: [{column: parent_gid, to: admin_level_1, to_column: gid}]}}

  They are kept out of the contract's constraints for two reasons: those are checked row by row while the table fills,
  and PostgreSQL's adapter drops a parent with `cascade` when it rebuilds it, which silently removes the children's
  constraints. The macros in this folder add the keys in bulk and restore them.
-#}
{% macro declared_foreign_keys() %}
    {% set models = {} %}
    {% for node in graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') %}
        {% do models.update({node.name: node}) %}
    {% endfor %}
    {% set keys = [] %}
    {% for node in models.values() %}
        {% for key in node.config.meta.get('foreign_keys', []) %}
            {% if key.to not in models %}
                {% set fault = " declares a foreign key to '" ~ key.to ~ "', but there is no model of that name." %}
                {% do exceptions.raise_compiler_error(node.name ~ fault) %}
            {% endif %}
            {% set parent = models[key.to] %}
            {% do keys.append({
                'name': node.name ~ '_' ~ key.column ~ '_fkey',
                'child': api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias),
                'column': key.column,
                'parent': api.Relation.create(database=parent.database, schema=parent.schema, identifier=parent.alias),
                'to_column': key.get('to_column', 'gid'),
                'child_id': node.unique_id,
                'parent_id': parent.unique_id,
            }) %}
        {% endfor %}
    {% endfor %}
    {{ return(keys | sort(attribute='name')) }}
{% endmacro %}
