{#- The datasets: the sources that ingest loads. -#}
{% macro datasets() %}
    {% set names = [] %}
    {% for node in graph.sources.values() if node.schema == 'raw' and node.source_name != 'ledger' %}
        {% do names.append(node.source_name) %}
    {% endfor %}
    {{ return(names | unique | sort | list) }}
{% endmacro %}

{#-
  The run of a dataset that models and tests read, as {run_id, release}, both none where nothing was loaded: in a build
  the one that it pinned when it began; in other commands the one that the marts are of; and before the first build the
  published one. In a model that reads the run before, that one.
-#}
{% macro pinned_run(dataset) %}
    {% if not execute %}
        {{ return({'run_id': none, 'release': none}) }}
    {% endif %}
    {% if reads_run_before() %}
        {{ return(run_before(dataset)) }}
    {% endif %}
    {% set meta = beside(marts_meta()) %}
    {% if not is_building() and adapter.get_relation(meta.database, meta.schema, meta.identifier) is none %}
        {% set rows = run_query("select run_id, release from " ~ builtins.source('ledger', 'ingest_runs').render()
            ~ " where state = 'published' and dataset = '" ~ dataset ~ "'").rows %}
        {{ return(checked_run(dataset, rows)) }}
    {% endif %}
    {{ return(run_in_meta(dataset, 'run_id, release')) }}
{% endmacro %}

{#- The run of a dataset that `marts_meta` names in two of its columns. -#}
{% macro run_in_meta(dataset, columns) %}
    {% set rows = run_query("select " ~ columns ~ " from " ~ beside(marts_meta()) ~ " where dataset = '" ~ dataset
        ~ "'").rows %}
    {{ return(checked_run(dataset, rows)) }}
{% endmacro %}

{% macro checked_run(dataset, rows) %}
    {% set row = rows[0] if rows else [none, none] %}
    {#- it becomes part of a table's name, or of a file's, which dbt does not quote -#}
    {% if row[0] is not none and not modules.re.match('[a-z0-9_]+\\Z', row[0]) %}
        {% do exceptions.raise_compiler_error('The ledger names a run of ' ~ dataset ~ ' that ingest cannot have made: '
            ~ row[0]) %}
    {% endif %}
    {{ return({'run_id': row[0], 'release': row[1]}) }}
{% endmacro %}

{% macro marts_meta() %}
    {{ return(api.Relation.create(
        database=target.database | default(none), schema=with_dataset('marts'), identifier='marts_meta', type='table'
    )) }}
{% endmacro %}
