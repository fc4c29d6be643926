{#-
  A select that returns one row per mart that declares no primary key, or whose table lacks the declared one: of the
  marts with the tag `derived`, which a build may leave out, or of the others.
-#}
{% macro missing_primary_keys(is_derived=false) %}
    {% if execute %}
        {% set keys = [] %}
        {% for node in graph.nodes.values() if ('derived' in node.tags) == is_derived and (
            node.resource_type == 'snapshot' or node.resource_type == 'model' and 'marts' in node.fqn
            and node.config.materialized == 'table' and has_key_in_database(node)) %}
            {% set mart = in_sight(api.Relation.create(schema=node.schema, identifier=node.alias)) %}
            {% set columns = declared_primary_key(node) %}
            {% do keys.append({'schema': mart.schema, 'table': mart.identifier, 'columns': columns}) %}
        {% endfor %}
select
    declared.table_name,
    declared.key_columns
from (values
        {%- for key in keys %}
    ('{{ key.schema }}', '{{ key.table }}', '{{ key.columns | sort | join(', ') }}'){{ ',' if not loop.last }}
        {%- endfor %}
) as declared (schema_name, table_name, key_columns)
left join (
    {{ primary_keys_in_database() }}
) as present
    on declared.schema_name = present.schema_name
    and declared.table_name = present.table_name
    and declared.key_columns = present.key_columns
where present.table_name is null
    {% else %}
        select 1
    {% endif %}
{% endmacro %}
