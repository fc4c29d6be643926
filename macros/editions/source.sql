{#-
  Overrides dbt's `source`: the tables of a dataset are those of the run that was pinned for it, whatever is published
  or rolled back meanwhile. Everything else is as dbt has it.
-#}
{% macro source() %}
    {% set relation = in_project(builtins.source(*varargs, **kwargs)) %}
    {% if not execute or relation.is_cte or not relation.schema %}
        {{ return(relation) }}
    {% elif varargs[0] in datasets() %}
        {{ return(of_run(relation, pinned_run(varargs[0]).run_id or 'empty')) }}
    {% elif varargs[0] == 'marts' %}
        {{ return(beside(relation)) }}
    {% endif %}
    {{ return(relation) }}
{% endmacro %}

{#-
  A source whose files are in WAREHOUSE_HOME: from wherever dbt is called, a relative one is relative to the project,
  like for `ingest`, and no part of its name is a pattern or the end of a text.
-#}
{% macro in_project(relation) %}
    {{ return(adapter.dispatch('in_project')(relation)) }}
{% endmacro %}

{% macro default__in_project(relation) %}
    {{ return(relation) }}
{% endmacro %}

{% macro duckdb__in_project(relation) %}
    {% set home = env_var('WAREHOUSE_HOME', '') or '.warehouse' %}
    {% if not relation.external %}
        {{ return(relation) }}
    {% endif %}
    {% set folder = '' if home.startswith('/') else (invocation_args_dict.get('project_dir') or '.') ~ '/' %}
    {% set place = (folder ~ home).replace('[', '[[]').replace('*', '[*]').replace('?', '[?]').replace("'", "''") %}
    {% set external = relation.external.replace("('" ~ home ~ '/', "('" ~ place ~ '/', 1) %}
    {{ return(relation.replace(external=external)) }}
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
