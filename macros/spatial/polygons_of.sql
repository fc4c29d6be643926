{#- The select that takes the geometries of a CTE apart, where they have more than so many vertices: key, polygon_number (from 1), geom (a polygon). -#}
{% macro polygons_of(cte, key, above=0) %}
    {{ return(adapter.dispatch('polygons_of')(cte, key, above)) }}
{% endmacro %}

{% macro default__polygons_of(cte, key, above) %}
    select
        {{ cte }}.{{ key }},
        dumped.path[1] as polygon_number,
        dumped.geom
    from {{ cte }}
    cross join lateral st_dump({{ cte }}.geom) as dumped
    where {{ cte }}.vertex_count > {{ above }}
{% endmacro %}

{% macro duckdb__polygons_of(cte, key, above) %}
    select
        {{ key }},
        dumped.path[1] as polygon_number,
        dumped.geom
    from (
        select
            {{ key }},
            unnest(st_dump(geom)) as dumped
        from {{ cte }}
        where vertex_count > {{ above }}
    ) as dumps
{% endmacro %}
