{#-
  The foreign keys that models declare in their yml, as a list of {name, child, column, parent, to_column, child_id, parent_id}, sorted by name:

      config: {meta: {foreign_keys: [{column: parent_gid, to: admin_level_1, to_column: gid}]}}

  They are not contract constraints, since those are checked row by row while the table fills, and since PostgreSQL's adapter drops a parent with `cascade` when it
  rebuilds it, which takes the children's constraints along without a word. The macros of this folder add them in bulk and put them back.
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
                {% do exceptions.raise_compiler_error(node.name ~ " declares a foreign key to '" ~ key.to ~ "', which is no model.") %}
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
