{#-
  A text column to sort by in byte order, the same on both targets: PostgreSQL would follow the rules of a language.
-#}
{% macro in_byte_order(column) -%}
    {{ return(adapter.dispatch('in_byte_order')(column)) }}
{%- endmacro %}

{% macro default__in_byte_order(column) -%}
    {{ column }} collate "C"
{%- endmacro %}

{% macro duckdb__in_byte_order(column) -%}
    {{ column }}
{%- endmacro %}

{% macro spark__in_byte_order(column) -%}
    {{ column }}
{%- endmacro %}
