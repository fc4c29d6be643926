{#- A text as an SQL literal, or NULL. -#}
{% macro text_literal(text) -%}
    cast({{ 'null' if text is none else dbt.string_literal(dbt.escape_single_quotes(text)) }} as text)
{%- endmacro %}
