{#-
  Makes areas in square degrees comparable across latitudes: multiply an area by this. Exact for an area that fills
  its box.
-#}
{% macro sphere_factor(min_lat, max_lat) -%}
    case
        when {{ max_lat }} > {{ min_lat }}
            then (sin(radians({{ max_lat }})) - sin(radians({{ min_lat }}))) / radians({{ max_lat }} - {{ min_lat }})
        else cos(radians({{ min_lat }}))
    end
{%- endmacro %}
