{#-
  SQL that writes `marts_meta` into the edition in progress: for each dataset the run that this build reads. It is
  committed long before readers see it, so that whoever asks with an older snapshot finds it too.
-#}
{% macro pin_runs() %}
{% set meta = beside(marts_meta()) %}
{% set draft = meta.incorporate(path={'identifier': 'marts_meta_draft'}) %}
create table {{ draft }} as
{{ marts_meta_select() }};
drop table if exists {{ meta }};
alter table {{ draft }} rename to marts_meta;
alter table {{ meta }} add primary key (dataset);
{% for node in graph.sources.values() if node.source_name == 'marts' and node.name == 'marts_meta' %}
comment on table {{ meta }} is {{ dbt.string_literal(dbt.escape_single_quotes(node.description | trim)) }};
    {%- for column in node['columns'].values() %}
comment on column {{ meta }}.{{ column.name }} is
        {{ dbt.string_literal(dbt.escape_single_quotes(column.description | trim)) }};
    {%- endfor %}
{% endfor %}
{{ require_since(boundaries() in datasets_that_stay()) }}
{{ hold_runs() }}
{% endmacro %}

{#- A select of the rows of `marts_meta`. -#}
{% macro marts_meta_select() %}
{% set runs = source('ledger', 'ingest_runs') %}{# rendered without the limit of `dbt build --empty` #}
{% set staying = datasets_that_stay() %}
{% set old = marts_meta() %}
{% for dataset in datasets() %}
select
    '{{ dataset }}' as dataset,
    '{{ invocation_id }}' as build_id,
    cast('{{ run_started_at }}' as timestamp with time zone) as built_at,
    pinned.run_id,
    pinned.release,
    pinned.variant,
    pinned.scope,
    pinned.published_at,
    before.run_id as before_run_id,
    before.release as before_release,
    before.published_at as before_published_at
from (select 1 as one) as always
    {%- if dataset in staying %}
inner join {{ old }} as pinned
    on pinned.dataset = '{{ dataset }}'
    {%- else %}
left join {{ runs.render() }} as pinned
    on pinned.dataset = '{{ dataset }}'
    and pinned.state = 'published'
    {%- endif %}
left join (
    {{ run_before_that_stays(dataset) if dataset in staying else run_before_select(dataset, runs.render()) }}
) as before
    on true
{{ 'union all' if not loop.last }}
{% endfor %}
{% endmacro %}

{#-
  The datasets of which this run leaves models as they are: those that it does not select, and that are there. Such a
  partial build reads the run that they are of.
-#}
{% macro datasets_that_stay() %}
    {% set staying = [] %}
    {% for dataset in datasets() %}
        {% set left = [] %}
        {% for id in descendants_of(dataset) if id not in selected_resources %}
            {% set node = graph.nodes[id] %}
            {% if adapter.get_relation(node.database, node.schema, node.alias) is not none %}
                {% do left.append(node.name) %}
            {% endif %}
        {% endfor %}
        {% if left %}
            {% set old = marts_meta() %}
            {% if adapter.get_relation(old.database, old.schema, old.identifier) is none %}
                {% do exceptions.raise_compiler_error("The marts do not say which run they are of, so that a part of "
                    ~ "them cannot be built to match " ~ left[0] ~ ". Build all of them once: " ~ build_command()) %}
            {% endif %}
            {% do refuse_to_mix_with_former_marts() %}
            {% do staying.append(dataset) %}
        {% endif %}
    {% endfor %}
    {{ return(staying) }}
{% endmacro %}

{#- Refuses to build a part of marts that an earlier version built: what had another name then would stay as it is. -#}
{% macro refuse_to_mix_with_former_marts() %}
    {% for name in former_marts() %}
        {% if adapter.get_relation(target.database, name.split('.')[0], name.split('.')[1]) is not none %}
            {% do exceptions.raise_compiler_error("An older version built the marts, with " ~ name ~ ", which has "
                ~ "another name now, so that a part of them cannot be built. Build all of them once: "
                ~ build_command()) %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{#- The ids of all models and snapshots that are made from a dataset, in one step or several. -#}
{% macro descendants_of(dataset) %}
    {% set found = [] %}
    {% for node in graph.sources.values() if node.source_name == dataset %}
        {% do found.append(node.unique_id) %}
    {% endfor %}
    {% set models = graph.nodes.values() | selectattr('resource_type', 'in', ['model', 'snapshot']) | list %}
    {% for _ in models %}
        {% set before = found | length %}
        {% for node in models if node.unique_id not in found %}
            {% if node.depends_on.nodes | select('in', found) | list %}
                {% do found.append(node.unique_id) %}
            {% endif %}
        {% endfor %}
        {% if found | length == before %}
            {{ return(found | reject('in', graph.sources) | list) }}
        {% endif %}
    {% endfor %}
    {{ return(found | reject('in', graph.sources) | list) }}
{% endmacro %}

{#-
  SQL that fails where a run that this build reads is gone, was loaded by an older version or, on DuckDB, is no longer
  what was loaded, and keeps retention away from all pinned runs as long as the build lasts. On PostgreSQL, a view does
  that: no table is dropped that a view reads, whoever asks for it.
-#}
{% macro hold_runs() %}
    {% set read = [] %}
    {% set readers = selected_resources | list %}
    {% for id in readers %}{# grows while it is gone through: a view that stays is read with what it reads #}
        {% for parent in graph.nodes.get(id, {}).get('depends_on', {}).get('nodes', []) %}
            {% if parent in graph.sources %}
                {% do read.append(graph.sources[parent].source_name) %}
            {% elif parent in graph.nodes and parent not in readers
                and graph.nodes[parent].config.materialized in ('view', 'ephemeral') %}
                {% do readers.append(parent) %}
            {% endif %}
        {% endfor %}
    {% endfor %}
    {% set compared = 'model.admin_boundaries.int_units_before' in selected_resources
        or 'model.admin_boundaries.int_unit_overlaps' in selected_resources %}
    {{ return(adapter.dispatch('hold_runs')(datasets() | select('in', read) | list, compared)) }}
{% endmacro %}

{% macro run_is_gone() %}
    {{- return("The marts are of a run whose tables are gone, so that a part of them cannot be built again. "
        ~ "Build all of them, of the run that is published now: " ~ build_command()) -}}
{% endmacro %}

{#- What to say of a run that an older version loaded; `dataset` is SQL. -#}
{% macro run_is_of_older_version(dataset) %}
    {{- return("'The tables of ' || " ~ dataset ~ " || ' were made by an older version, and lack columns. "
        ~ "Load it again: python -m ingest ' || " ~ dataset) -}}
{% endmacro %}

{#- What to say of a run before the pinned one that cannot be read. -#}
{% macro run_before_is_gone() %}
    {{- return("The tables of the release before are gone. To compare with another one that is kept, or with none, "
        ~ "build all marts again: " ~ build_command()) -}}
{% endmacro %}

{% macro duckdb__hold_runs(read, compared) %}
select case
    when damage <> '' then error(damage)
    when damage_before <> '' then error(
        split_part(damage_before, ' Load it again', 1)
        || ' To compare with no release: {{ build_command() }} --vars ''since: none'''
    )
    when not is_before_held then error('{{ run_before_is_gone() }}')
    when is_held and not is_current then error({{ run_is_of_older_version('dataset') }})
    when not is_held and list_contains({{ read }}, dataset) then error('{{ run_is_gone() }}')
end
from (
    select
        dataset,
        hold_run(dataset, coalesce(run_id, 'empty')) as is_held,
        not list_contains({{ read }}, dataset) or is_comparable(dataset, coalesce(run_id, 'empty'), 'geom_hash')
            as is_current,
        case when list_contains({{ read }}, dataset) then damage_of_run(dataset, run_id) else '' end as damage,
        {%- if compared %}
        before_run_id is null or hold_run(dataset, before_run_id) as is_before_held,
        case when before_run_id is null then '' else damage_of_run(dataset, before_run_id) end as damage_before
        {%- else %}
        true as is_before_held,
        '' as damage_before
        {%- endif %}
    from {{ marts_meta() }}
) as held;
{% endmacro %}

{% macro postgres__hold_runs(read, compared) %}
do $hold$
declare
    outdated text;
    parts text;
begin
    drop view if exists {{ held_runs() }};
    select string_agg(format('select from %I.%I where false', schema_name, table_name || '__' || pinned), ' union all ')
    into parts
    from {{ beside(marts_meta()) }}
    inner join (values
        {%- for node in graph.sources.values() if node.source_name in datasets() %}
        ('{{ node.source_name }}', '{{ node.schema }}', '{{ node.identifier }}'){{ ',' if not loop.last }}
        {%- endfor %}
    ) as tables (dataset, schema_name, table_name) using (dataset)
    cross join unnest(array[coalesce(run_id, 'empty'), coalesce(before_run_id, 'empty')]) as pinned
    where to_regclass(format('%I.%I', schema_name, table_name || '__' || pinned)) is not null;
    if parts is not null then
        execute 'create view {{ held_runs() }} as ' || parts;
    end if;
    {%- if read %}
    if exists (
        select
        from {{ beside(marts_meta()) }}
        inner join (values
            {%- for node in graph.sources.values() if node.source_name in read %}
            ('{{ node.source_name }}', '{{ node.schema }}', '{{ node.identifier }}'){{ ',' if not loop.last }}
            {%- endfor %}
        ) as tables (dataset, schema_name, table_name) using (dataset)
        where to_regclass(
            format('%I.%I', tables.schema_name, tables.table_name || '__' || coalesce(run_id, 'empty'))
        ) is null
    ) then
        raise exception '{{ run_is_gone() }}';
    end if;
    {%- endif %}
    {%- if compared %}
    if exists (
        select
        from {{ beside(marts_meta()) }}
        where dataset = '{{ boundaries() }}'
            and before_run_id is not null
            and not ({{ is_comparable(boundaries(), 'before_run_id') }})
    ) then
        raise exception '{{ run_before_is_gone() }}';
    end if;
    {%- endif %}
    {%- if read %}
    select dataset into outdated
    from {{ beside(marts_meta()) }}
    where {% for dataset in read %}

        {{ 'or ' if not loop.first }}dataset = '{{ dataset }}'
        and not ({{ is_comparable(dataset, "coalesce(run_id, 'empty')") }})
        {%- endfor %}
    limit 1;
    if outdated is not null then
        raise exception '%', {{ run_is_of_older_version('outdated') }};
    end if;
    {%- endif %}
end
$hold$;
{% endmacro %}

{#- The view of the edition in progress that keeps retention away from the runs that the build reads. -#}
{% macro held_runs() %}
    {{- return(beside(marts_meta()).incorporate(path={'identifier': 'held_runs'}).include(database=false)) -}}
{% endmacro %}
