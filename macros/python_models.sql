{#-
  A Python model with what reads and writes around it, see `admin_boundaries/python_models.py`. The table is made of the
  columns and constraints that the yml declares, as that of an SQL model is.
-#}
{% macro python_model_into_postgres(relation) -%}
{{ model['compiled_code'] }}


def materialize(rows, session):
    from admin_boundaries.python_models import into_postgres

    table = {{ (relation | string) | tojson }}
    return into_postgres({{ model.name | tojson }}, rows, {{ declared_types() }}, table, session)
{%- endmacro %}

{% macro python_model_in_duckdb(relation) -%}
{{ model['compiled_code'] }}


from admin_boundaries.python_models import in_duckdb

model = in_duckdb(
    {{ model.name | tojson }},
    model,
    dbtObj,
    {{ declared_types() }},
    {{ (relation | string) | tojson }},
    {{ ('create table ' ~ relation ~ get_table_columns_and_constraints()) | tojson }},
)


def materialize(rows, session):
    """The rows are there already."""
{%- endmacro %}

{#- The declared type of each column, as Python has it. -#}
{% macro declared_types() -%}
    {%- set types = {} -%}
    {%- for name, column in model['columns'].items() -%}
        {%- do types.update({name: column['data_type']}) -%}
    {%- endfor -%}
    {{ types | tojson }}
{%- endmacro %}
