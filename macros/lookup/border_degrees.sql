{#-
  A point this close to a border (0.1 mm at the equator) counts as lying on it: more than cutting ever moves a line,
  less than any survey can tell.
-#}
{% macro border_degrees() %}
    {{ return('cast(1e-9 as double precision)') }}
{% endmacro %}
