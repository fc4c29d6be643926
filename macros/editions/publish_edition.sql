{#-
  On-run-end: puts what this build made before readers, all of it in one step, when nothing failed. Otherwise the marts
  stay as they were, and what was built waits for `dbt retry`; the next build clears it away.
-#}
{% macro publish_edition(results) %}
    {% if is_building() %}
        {% do own_session() %}{# dbt runs the text of a hook itself, not by `statement` #}
        {% set failed = results | selectattr('status', 'in', ['error', 'fail', 'runtime error', 'skipped',
            'partial success']) | list %}
        {% if failed %}
            {{ keep_failed_build(failed | length, results | length) }}
        {% else %}
            {% do log_changes() %}
            {{ put_before_readers() }}
        {% endif %}
    {% endif %}
{% endmacro %}

{#- SQL that leaves the marts as they were, and says so. -#}
{% macro keep_failed_build(failed, all) %}
    {{ return(adapter.dispatch('keep_failed_build')(failed, all)) }}
{% endmacro %}

{% macro default__keep_failed_build(failed, all) %}
    {% do log('The marts stay as they were, since ' ~ failed ~ ' of ' ~ all
        ~ ' steps failed or were skipped. What was built waits for `dbt retry`.', info=true) %}
create table if not exists {{ beside(marts_meta()).incorporate(path={'identifier': 'failed_build'}) }} as
select '{{ invocation_id }}' as build_id;
{{ keep_for_retry() }}
{% endmacro %}

{% macro put_before_readers() %}
    {{ return(adapter.dispatch('put_before_readers')()) }}
{% endmacro %}

{#- The edition's file replaces the one that readers open; who has that open goes on reading it. -#}
{% macro duckdb__put_before_readers() %}
{{ create_lookup_functions() }}
{{ carry_over(views=true) }}
checkpoint {{ target.database }};
use memory;
detach {{ target.database }};
select publish_warehouse();
{% endmacro %}

{#- SQL that keeps what was built by a run that failed: its file has no journal to be mended from. -#}
{% macro keep_for_retry() %}
    {{ return(adapter.dispatch('keep_for_retry')()) }}
{% endmacro %}

{% macro duckdb__keep_for_retry() %}
checkpoint {{ target.database }};
{% endmacro %}

{% macro postgres__keep_for_retry() %}
commit;
{% endmacro %}
