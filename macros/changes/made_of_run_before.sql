{#-
  The common table expressions of everything that models are made of, from staging on, over the run before the pinned
  one. The same code as that of the models is rendered once more: `source` and `ref` lead elsewhere in a model that
  `reads_run_before`. So both runs are cleaned, joined and repaired alike. What is a table in the warehouse is
  materialized here, too; geometry only passes through.
-#}
{% macro made_of_run_before(names) -%}
{%- for node in makings_of(names) %}
{{ node.name }} as {{ '' if node.config.materialized == 'table' else 'not ' }}materialized (
{{ render(node.raw_code) }}
),
{%- endfor %}
{%- endmacro %}

{#- The nodes of all models that models are made of, each after those that it reads, with themselves among them. -#}
{% macro makings_of(names) %}
    {% set found = [] %}
    {% set seen = [] %}
    {% for name in names %}
        {% do add_makings('model.admin_boundaries.' ~ name, found, seen) %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}

{% macro add_makings(id, found, seen) %}
    {% if id in graph.nodes and graph.nodes[id].resource_type == 'model' and id not in seen %}
        {% do seen.append(id) %}
        {% for parent in graph.nodes[id].depends_on.nodes %}
            {% do add_makings(parent, found, seen) %}
        {% endfor %}
        {% do found.append(graph.nodes[id]) %}
    {% endif %}
{% endmacro %}

{#- The names of the staging views of all levels. -#}
{% macro names_of_staged_levels() %}
    {% set names = [] %}
    {% for level in admin_levels() %}
        {% do names.append('stg_' ~ boundaries() ~ '__adm_' ~ level) %}
    {% endfor %}
    {{ return(names) }}
{% endmacro %}
