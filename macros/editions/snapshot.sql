{#-
  Overrides dbt's snapshots: an edition has a table of its own, made from the published one, which stays as it is until
  the edition replaces it. So a build that fails leaves no trace in the history, and one that is repeated begins where
  the other did. Of dbt's settings it knows `unique_key`, `check_cols` and the names of the two columns with times; a
  row that is no longer there ends. The time is that of the build: all snapshots of one agree.

  `dbt build --empty` reads no rows, which is not to say that all of them are gone.
-#}
{% materialization snapshot, default %}
    {% set built = beside(this).incorporate(type='table') %}
    {% set before = published_relation(this) %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% do adapter.drop_relation(built) %}
    {% call statement('table') -%}
        create table {{ built }} {{ get_table_columns_and_constraints() }}
    {%- endcall %}
    {% call statement('main') -%}
        insert into {{ built }} ({{ model['columns'] | join(', ') }})
        {% if before is none -%}
            {{ rows_that_begin(sql) }}
        {%- elif flags.EMPTY -%}
            select {{ model['columns'] | join(', ') }} from {{ before }}
        {%- else -%}
            {{ rows_with_history(sql, before) }}
        {%- endif %}
    {%- endcall %}
    {{ return(finish_beside(built)) }}
{% endmaterialization %}

{#- The columns with the times in which a row of a snapshot was valid. -#}
{% macro times_of(node) %}
    {% set names = node.config.snapshot_meta_column_names %}
    {{ return([names.dbt_valid_from, names.dbt_valid_to]) }}
{% endmacro %}

{#- When this build began, or the one that it goes on with, as SQL. -#}
{% macro time_of_build() -%}
    (select max(built_at) from {{ beside(marts_meta()) }})
{%- endmacro %}

{% macro rows_that_begin(sql) %}
{% set times = times_of(model) %}
select
    {%- for name in model['columns'] %}
    {{ time_of_build() ~ ' as ' if name == times[0] else 'null as ' if name == times[1] else '' }}{{ name }}
    {{- ',' if not loop.last }}
    {%- endfor %}
from ({{ sql }}) as now
{% endmacro %}

{% macro rows_with_history(sql, before) %}
{% set key, times = config.get('unique_key'), times_of(model) %}
with

now as (

    {{ sql }}

),

build as (

    select {{ time_of_build() }} as began_at

),

before as (

    select * from {{ before }}

),

goes_on as (

    select now.{{ key }}
    from now
    inner join before
        on now.{{ key }} = before.{{ key }}
        and before.{{ times[1] }} is null
    {%- for name in config.get('check_cols') %}
        and now.{{ name }} is not distinct from before.{{ name }}
    {%- endfor %}

)

select
    {%- for name in model['columns'] %}
    {%- if name == times[1] %}
    case
        when before.{{ name }} is null and goes_on.{{ key }} is null then build.began_at
        else before.{{ name }}
    end as {{ name }}
    {%- else %}
    before.{{ name }}
    {%- endif %}
    {{- ',' if not loop.last }}
    {%- endfor %}
from before
cross join build
left join goes_on
    on before.{{ key }} = goes_on.{{ key }}

union all

select
    {%- for name in model['columns'] %}
    {{ 'build.began_at' if name == times[0] else 'null' if name == times[1] else 'now.' ~ name }}
    {{- ',' if not loop.last }}
    {%- endfor %}
from now
cross join build
left join goes_on
    on now.{{ key }} = goes_on.{{ key }}
where goes_on.{{ key }} is null
{% endmacro %}

{#- A relation as readers see it while an edition is made, none if it is not there. -#}
{% macro published_relation(relation) %}
    {{ return(adapter.dispatch('published_relation')(relation)) }}
{% endmacro %}

{% macro default__published_relation(relation) %}
    {{ return(adapter.get_relation(relation.database, relation.schema, relation.identifier)) }}
{% endmacro %}

{% macro duckdb__published_relation(relation) %}
    {% set found = run_query("select 1 from duckdb_tables() where database_name = 'published' and schema_name = '"
        ~ relation.schema ~ "' and table_name = '" ~ relation.identifier ~ "'").rows %}
    {{ return(relation.incorporate(path={'database': 'published'}) if found else none) }}
{% endmacro %}
