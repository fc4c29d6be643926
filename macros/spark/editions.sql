{#-
  Editions on Spark, see `admin_boundaries/spark/edition.py`. The session has views of its own: there, a build replaces
  the tables of the published edition one by one, and readers see nothing of it before the pointer is put in its place.
-#}
{% macro spark__begin_edition() %}
    {% if not is_building() %}
        {{ return('') }}
    {% endif %}
    {% if is_retry() %}
        {% do exceptions.raise_compiler_error('`dbt retry` cannot go on with a build on Spark, where nobody knows the '
            ~ 'tables of a failed one. Build again: ' ~ build_command()) %}
    {% endif %}
    {% if var('concordance', []) or var('unit_cells') %}
        {% do exceptions.raise_compiler_error('The marts that `concordance` and `unit_cells` ask for are made in '
            ~ 'Python, which Spark does not run: build them on another target.') %}
    {% endif %}
    {% do open_edition() %}
    {% do require_since(false) %}
    {% do say_what_stays() %}
    {% set meta = marts_meta() %}
    {% call statement('pin_runs') %}
        {{ write_table(meta, 'parquet', marts_meta_select()) }}
    {% endcall %}
    {% do hold_runs() %}
{% endmacro %}

{% macro spark__open_edition() %}
    {% if adapter.get_relation(none, 'raw', 'ingest_runs') is none %}
        {% do exceptions.raise_compiler_error(nothing_loaded()) %}
    {% endif %}
    {% do adapter.begin_edition(invocation_id, run_started_at) %}
{% endmacro %}

{% macro spark__hold_runs(read, compared) %}
    {% for row in run_query('select dataset, run_id from ' ~ marts_meta()).rows if row[0] in read and row[1] %}
        {% set damage = adapter.hold_run(row[0], row[1]) %}
        {% if damage %}
            {% do exceptions.raise_compiler_error(damage) %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{#- What changed between two releases is told by Python models, which Spark does not run. -#}
{% macro spark__is_comparable(dataset, run_id) -%}
    false
{%- endmacro %}

{% macro spark__require_since(since, stays) %}
    {% do exceptions.raise_compiler_error('What changed since a release is told by models in Python, which Spark does '
        ~ 'not run. Build without `since`, or on another target.') %}
{% endmacro %}

{#- The table of a run, which is added to the session where it is read. -#}
{% macro spark__of_run(relation, run_id) %}
    {% for node in graph.sources.values() if node.schema == relation.schema and node.name == relation.identifier %}
        {% do adapter.add_raw_table(node.source_name, node.name, run_id) %}
    {% endfor %}
    {{ return(default__of_run(relation, run_id)) }}
{% endmacro %}

{% macro spark__put_before_readers() %}
    {% set kept = [marts_meta().schema ~ '.' ~ marts_meta().identifier] %}
    {% for node in graph.nodes.values() if node.resource_type in ['model', 'seed'] %}
        {% do kept.append(node.schema ~ '.' ~ node.alias) %}
    {% endfor %}
    {% set failure = adapter.publish_edition(kept) %}
    {% if failure %}
        {#- Spark would not run a query that nobody asks for its rows -#}
        {% do exceptions.raise_compiler_error(failure) %}
    {% endif %}
{% endmacro %}

{#- What a failed build wrote is known to nobody once it ends; a later one clears it away. -#}
{% macro spark__keep_failed_build(failed, all) %}
    {% do log('The marts stay as they were, since ' ~ failed ~ ' of ' ~ all ~ ' steps failed or were skipped.',
        info=true) %}
{% endmacro %}

{% macro spark__keep_for_retry() %}
{% endmacro %}

{#- What a session makes is gone when it ends: `fold_name` is there in a build, and `locate` is not. -#}
{% macro spark__create_lookup_functions() %}
{% endmacro %}
