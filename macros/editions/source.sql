{#-
  Overrides dbt's `source`: the tables of a dataset are those of the run that was pinned for it, whatever is published
  or rolled back meanwhile. Everything else is as dbt has it.
-#}
{% macro source() %}
    {% set relation = builtins.source(*varargs, **kwargs) %}
    {% if not execute or relation.is_cte or not relation.schema %}
        {{ return(relation) }}
    {% elif varargs[0] in datasets() %}
        {{ return(of_run(relation, pinned_run(varargs[0]).run_id or 'empty')) }}
    {% elif varargs[0] == 'marts' %}
        {{ return(beside(relation)) }}
    {% endif %}
    {{ return(relation) }}
{% endmacro %}

{#- The table of a run behind the stable name of a source. -#}
{% macro of_run(relation, run_id) %}
    {{ return(adapter.dispatch('of_run')(relation, run_id)) }}
{% endmacro %}

{% macro default__of_run(relation, run_id) %}
    {{ return(relation.incorporate(path={'identifier': relation.identifier ~ '__' ~ run_id})) }}
{% endmacro %}

{% macro duckdb__of_run(relation, run_id) %}
    {{ return(relation.replace(external=relation.external.replace('/current/', '/runs/' ~ run_id ~ '/'))) }}
{% endmacro %}
