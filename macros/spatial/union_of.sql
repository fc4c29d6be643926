{#- The aggregate that unites geometries. -#}
{% macro union_of(column) -%}
    {{ return(adapter.dispatch('union_of')(column)) }}
{%- endmacro %}

{% macro default__union_of(column) -%}
    st_union({{ column }})
{%- endmacro %}

{% macro duckdb__union_of(column) -%}
    st_union_agg({{ column }})
{%- endmacro %}

{% macro spark__union_of(column) -%}
    st_union_aggr({{ column }})
{%- endmacro %}
