{#-
  Where the edition in progress keeps a relation: on PostgreSQL in a schema of its own (`marts_next`), on DuckDB under
  the relation's own name, since the whole file is the edition's (see `admin_boundaries.duckdb_plugin`).
-#}
{% macro beside(relation) %}
    {{ return(adapter.dispatch('beside')(relation)) }}
{% endmacro %}

{% macro default__beside(relation) %}
    {{ return(relation) }}
{% endmacro %}

{% macro postgres__beside(relation) %}
    {% if is_building() and relation.schema in edition_schemas() %}
        {{ return(relation.incorporate(path={'schema': relation.schema ~ '_next'})) }}
    {% endif %}
    {{ return(relation) }}
{% endmacro %}
