{#- Seeds on Spark: dbt-spark would write an empty field as the text `None`, and knows no address. -#}
{% macro spark__create_csv_table(model, agate_table) %}
    {{ return('') }}
{% endmacro %}

{% macro spark__load_csv_rows(model, agate_table) %}
    {% do adapter.write_seed(model.schema, model.alias, agate_table, model.config.get('column_types', {})) %}
    {{ return('') }}
{% endmacro %}

{#- A quotation mark within a text is doubled, as on the other targets: `dialect.py` makes Spark's of it. -#}
{% macro spark__escape_single_quotes(expression) -%}
    {{ expression | replace("'", "''") }}
{%- endmacro %}
