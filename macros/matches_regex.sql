{#- True where the text matches the POSIX pattern. -#}
{% macro matches_regex(column, pattern) -%}
    {{ return(adapter.dispatch('matches_regex')(column, pattern)) }}
{%- endmacro %}

{% macro default__matches_regex(column, pattern) -%}
    ({{ column }} ~ '{{ pattern }}')
{%- endmacro %}

{#- DuckDB's `~` matches the whole text, PostgreSQL's any part of it. -#}
{% macro duckdb__matches_regex(column, pattern) -%}
    regexp_matches({{ column }}, '{{ pattern }}')
{%- endmacro %}

{% macro spark__matches_regex(column, pattern) -%}
    ({{ column }} rlike '{{ pattern }}')
{%- endmacro %}
