{#-
  Two table macros. `locate` takes a point and reads only the parts whose box holds it. `locate_points` takes the name
  of a table with `point_number`, `lon` and `lat`; DuckDB builds an R-tree over its points.
-#}
{% macro locate_in_duckdb() %}
{% set marts = with_dataset('marts') %}
create or replace macro {{ marts }}.locate(lon, lat) as table
with

points as (

    select
        1 as point_number,
        cast(lon as double) as lon,
        cast(lat as double) as lat

),

{{ locate_answers(parts_at_a_point('internal_leaf_parts'), parts_at_a_point('internal_timezone_parts'), marts) }}

select * exclude (point_number)
from answers;

create or replace macro {{ marts }}.locate_points(points_table) as table
with

points as (

    select
        point_number,
        lon,
        lat
    from query_table(points_table)

),

{{ locate_answers(schema=marts) }}

select *
from answers
order by point_number;
{% endmacro %}

{#- The parts of a mart whose box holds the one point of `locate`, or its twin on the date line. -#}
{% macro parts_at_a_point(mart) -%}
(
        select *
        from {{ with_dataset('marts') }}.{{ mart }}
        where (lon between min_lon - {{ border_degrees() }} and max_lon + {{ border_degrees() }} or abs(lon) = 180)
            and lat between min_lat - {{ border_degrees() }} and max_lat + {{ border_degrees() }}
    )
{%- endmacro %}
