{#- Schemas are named plainly on every target: staging, intermediate, marts, seeds; see `with_dataset`. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
