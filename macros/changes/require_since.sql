{#-
  SQL that fails where the variable `since` asks for a release that this build does not compare with: none of that name
  is kept, or a build of a part stays with the comparison of the other marts.
-#}
{% macro require_since(stays) %}
    {% set since = var('since', '') %}
    {% if since is not string %}
        {#- YAML reads 4.10 as 4.1, and nothing as null -#}
        {% do exceptions.raise_compiler_error("`since` is the name of a release in quotes, as in "
            ~ "--vars 'since: \"4.1\"' (or none, to compare with no release), and not " ~ (since | string) ~ ".") %}
    {% endif %}
    {% if since != '' %}
        {{ return(adapter.dispatch('require_since')(since, stays)) }}
    {% endif %}
{% endmacro %}

{#- What to say, as SQL; `found` is SQL, too: the release that the marts are compared with, or those that are kept. -#}
{% macro since_is_refused(since, stays, found) -%}
    {%- set whole = build_command() ~ " --vars ''since: " ~ (since | replace("'", "''") | tojson) ~ "''" -%}
    {%- if stays -%}
        'This build leaves some marts as they are, which are compared with ' || {{ found }}
        || '. To compare with another release, build all of them: {{ whole }}'
    {%- else -%}
        'There is nothing kept of a release {{ since | replace("'", "''") }} of {{ boundaries() }} to compare with. '
        || 'Kept are: ' || {{ found }} || '. To compare with no release: '
        || '{{ build_command() }} --vars ''since: none'''
    {%- endif -%}
{%- endmacro %}

{#- A select of `found`, if what the build compares with is not what was asked for. -#}
{% macro since_is_missed(since, stays) -%}
    {%- set runs = source('ledger', 'ingest_runs').render() -%}
    select
        {%- if stays %}
        coalesce(before_release, 'none') as found
        {%- else %}
        coalesce(
            (
                select string_agg(distinct superseded.release, ', ' order by superseded.release)
                from {{ runs }} as superseded
                where superseded.dataset = '{{ boundaries() }}'
                    and superseded.state = 'superseded'
                    and {{ is_comparable(boundaries(), 'superseded.run_id') }}
            ),
            'none'
        ) as found
        {%- endif %}
    from {{ beside(marts_meta()) }}
    where dataset = '{{ boundaries() }}'
        and coalesce(before_release, 'none') <> {{ text_literal(since) }}
{%- endmacro %}

{% macro duckdb__require_since(since, stays) %}
select error({{ since_is_refused(since, stays, 'found') }})
from ({{ since_is_missed(since, stays) }}) as missed;
{% endmacro %}

{% macro postgres__require_since(since, stays) %}
do $since$
declare
    what text;
begin
    select missed.found into what
    from ({{ since_is_missed(since, stays) }}) as missed;
    if what is not null then
        raise exception '%', {{ since_is_refused(since, stays, 'what') }};
    end if;
end
$since$;
{% endmacro %}
