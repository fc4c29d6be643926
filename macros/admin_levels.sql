{#- The levels of the hierarchy, coarsest first: 0 is the country. -#}
{% macro admin_levels() %}
    {{ return([0, 1, 2, 3, 4, 5]) }}
{% endmacro %}
