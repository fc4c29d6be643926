{#- What an area in square degrees is multiplied with to be comparable over latitudes: exact for the whole of the box that it lies in. -#}
{% macro sphere_factor(min_lat, max_lat) -%}
    case
        when {{ max_lat }} > {{ min_lat }} then (sin(radians({{ max_lat }})) - sin(radians({{ min_lat }}))) / radians({{ max_lat }} - {{ min_lat }})
        else cos(radians({{ min_lat }}))
    end
{%- endmacro %}
