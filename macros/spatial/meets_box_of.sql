{#-
  True where a part's geometry meets the box of a unit. The box comes from the unit's columns, so that no unit's
  geometry is read; PostgreSQL finds the units by the index on their geometry. The join should go through the parts and
  look up the units, so that each part is fetched and prepared once for all the boxes that it may meet.
-#}
{% macro meets_box_of(unit, part) -%}
    {{ return(adapter.dispatch('meets_box_of')(unit, part)) }}
{%- endmacro %}

{% macro default__meets_box_of(unit, part) -%}
    {{ unit }}.geom && {{ part }}.geom
        and st_intersects(
            {{ part }}.geom,
            st_makeenvelope({{ unit }}.min_lon, {{ unit }}.min_lat, {{ unit }}.max_lon, {{ unit }}.max_lat, 4326)
        )
{%- endmacro %}

{% macro duckdb__meets_box_of(unit, part) -%}
    st_intersects(
        {{ part }}.geom,
        st_makeenvelope({{ unit }}.min_lon, {{ unit }}.min_lat, {{ unit }}.max_lon, {{ unit }}.max_lat)
    )
{%- endmacro %}

{% macro spark__meets_box_of(unit, part) -%}
    st_intersects(
        {{ part }}.geom,
        st_polygonfromenvelope({{ unit }}.min_lon, {{ unit }}.min_lat, {{ unit }}.max_lon, {{ unit }}.max_lat)
    )
{%- endmacro %}
