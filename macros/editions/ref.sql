{#-
  Overrides dbt's `ref`: what the edition in progress has built is read there, so that models and tests of a build see
  nothing of the edition that readers see, except what the build leaves as it is. The name is decided when a node runs:
  one decided while dbt parses the project would outlive the build in its cache.
-#}
{% macro ref() %}
    {#- in a model that reads the run before, what both runs are made of is there under its own name -#}
    {% if (varargs[-1].startswith('int_admin_units__') or varargs[-1] in names_of_staged_levels())
        and reads_run_before() %}
        {{ return(varargs[-1]) }}
    {% endif %}
    {% set relation = builtins.ref(*varargs, **kwargs) %}
    {% if is_in_progress(relation) %}
        {{ return(beside(relation)) }}
    {% endif %}
    {{ return(relation) }}
{% endmacro %}

{#- True where this run builds the relation, or a failed one that it continues has built it. -#}
{% macro is_in_progress(relation) %}
    {% if not is_building() or relation.is_cte or relation.schema not in edition_schemas() %}
        {{ return(false) }}
    {% endif %}
    {% for id in selected_resources
        if id.split('.')[0] in ['model', 'snapshot'] and id.split('.')[-1] == relation.identifier %}
        {{ return(true) }}
    {% endfor %}
    {% set place = beside(relation) %}
    {{ return(adapter.get_relation(place.database, place.schema, place.identifier) is not none) }}
{% endmacro %}
