{#-
  True in a model that is about the run before the pinned one, as its `meta` says, if there is one: `source`, `ref` and
  `pinned_run` lead to that run there.
-#}
{% macro reads_run_before() %}
    {{ return(
        execute
        and model is defined
        and model.get('config', {}).get('meta', {}).get('reads_run_before', false)
        and run_before(boundaries()).run_id is not none
    ) }}
{% endmacro %}

{#-
  The run of a dataset that was published before the pinned one, and is compared with it, as {run_id, release}; both
  none where there is none.
-#}
{% macro run_before(dataset) %}
    {% set meta = beside(marts_meta()) %}
    {#- a build has just made it; what readers see may be of an older version -#}
    {% if not is_building() and not has_column(meta, 'before_run_id') %}
        {{ return({'run_id': none, 'release': none}) }}
    {% endif %}
    {{ return(run_in_meta(dataset, 'before_run_id, before_release')) }}
{% endmacro %}

{#-
  A select of the publication of a dataset that readers saw before the present one, of which the raw tables are still
  there: none with the variable `since: none`, and with the name of a release the last one of that.
-#}
{% macro run_before_select(dataset, runs) -%}
    select
        run_id,
        release,
        published_at
    from {{ runs }} as superseded
    where dataset = '{{ dataset }}'
        and state = 'superseded'
        {%- if dataset != boundaries() or var('since', '') == 'none' %}
        and false
        {%- elif var('since', '') != '' %}
        and release = {{ text_literal(var('since') | string) }}
        {%- endif %}
        and {{ is_comparable(dataset) }}
    order by shown_at desc
    limit 1
{%- endmacro %}

{#- The same of a dataset of which models stay as they are: the one that those compare with. -#}
{% macro run_before_that_stays(dataset) -%}
    {%- set old = marts_meta() -%}
    {%- if has_column(old, 'before_run_id') -%}
    select
        before_run_id as run_id,
        before_release as release,
        before_published_at as published_at
    from {{ old }}
    where dataset = '{{ dataset }}'
    {%- else -%}
    select
        cast(null as text) as run_id,
        cast(null as text) as release,
        cast(null as timestamp with time zone) as published_at
    {%- endif -%}
{%- endmacro %}

{#-
  Whether the raw tables of a run are there, with a hash of each geometry, which older versions did not store. On DuckDB
  they are kept from now on, as long as the build lasts.
-#}
{% macro is_comparable(dataset, run_id='run_id') %}
    {{ return(adapter.dispatch('is_comparable')(dataset, run_id)) }}
{% endmacro %}

{% macro duckdb__is_comparable(dataset, run_id) -%}
    is_comparable('{{ dataset }}', {{ run_id }}, 'geom_hash')
{%- endmacro %}

{% macro postgres__is_comparable(dataset, run_id) -%}
    {%- for node in graph.sources.values() if node.source_name == dataset %}
        exists (
            select
            from pg_attribute
            where attrelid = to_regclass(
                    format('%I.%I', '{{ node.schema }}', '{{ node.identifier }}__' || {{ run_id }})
                )
                and attname = 'geom_hash'
                and not attisdropped
        )
        {{- ' and' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{% macro has_column(relation, name) %}
    {% set found = adapter.get_relation(relation.database, relation.schema, relation.identifier) %}
    {{ return(found is not none and name in adapter.get_columns_in_relation(found) | map(attribute='name')) }}
{% endmacro %}
