{#-
  A select that returns a row where the column may hold anything but MultiPolygons in EPSG:4326. Only types and
  statistics are read, never geometry.
-#}
{% macro not_multipolygon_4326(relation, column) %}
    {{ return(adapter.dispatch('not_multipolygon_4326')(relation, column)) }}
{% endmacro %}

{% macro default__not_multipolygon_4326(relation, column) %}
with

wanted as (

    select 'geometry(MultiPolygon,4326)' as column_type

),

present as (

    select format_type(atttypid, atttypmod) as column_type
    from pg_attribute
    where attrelid = to_regclass('{{ relation.include(database=false) }}')
        and attname = '{{ column }}'

)

select
    wanted.column_type as wanted_type,
    present.column_type as present_type
from wanted
left join present
    on true
where present.column_type is distinct from wanted.column_type
{% endmacro %}

{#- DuckDB's type names the reference system only; which kinds of geometry a column holds is in its statistics. -#}
{% macro duckdb__not_multipolygon_4326(relation, column) %}
with

present as (

    select
        typeof({{ column }}) as column_type,
        regexp_extract(stats({{ column }}), 'Types: \[([^\]]*)\]', 1) as geometry_types
    from {{ relation }}
    limit 1

)

select
    column_type,
    geometry_types
from present
where column_type <> 'GEOMETRY(''EPSG:4326'')'
    or geometry_types not in ('multipolygon', '')
{% endmacro %}

{#- Spark has no statistics of geometry: each is looked at. Its system is in the metadata of the file. -#}
{% macro spark__not_multipolygon_4326(relation, column) %}
select
    st_geometrytype({{ column }}) as geometry_type,
    st_srid({{ column }}) as srid
from {{ relation }}
where st_geometrytype({{ column }}) <> 'ST_MultiPolygon'
    or st_srid({{ column }}) not in (0, 4326)
{% endmacro %}
