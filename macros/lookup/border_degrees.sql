{#- So near to a border (0.1 mm at the equator) a point lies on it: more than cutting ever moves a line, less than any survey knows. -#}
{% macro border_degrees() %}
    {{ return('1e-9') }}
{% endmacro %}
