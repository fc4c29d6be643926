{#-
  The units of a release, as they were when the marts were last of it: rows of `admin_units_history`, to be selected
  from: `select * from {{ as_of('4.1') }}`. Two releases in one query need an alias each.

  A release that no build was of is refused, since the units of another one would be a wrong answer.
-#}
{% macro as_of(release, alias='units') %}
{% set history, built = ref('admin_units_history'), ref('built_releases') %}
{% if execute %}
    {% set found = run_query("select release from " ~ built ~ " where dataset = '" ~ boundaries()
        ~ "' group by release order by min(valid_from)").rows | map('first') | list %}
    {% if release not in found %}
        {% do exceptions.raise_compiler_error('The marts have never been of release ' ~ release ~ ' of ' ~ boundaries()
            ~ '. They have been of ' ~ (found | join(', ') or 'none') ~ '.') %}
    {% endif %}
{% endif %}
(
    select history.*
    from {{ history }} as history
    inner join (
        select valid_to
        from {{ built }}
        where dataset = '{{ boundaries() }}'
            and release = {{ text_literal(release) }}
        order by valid_from desc
        limit 1
    ) as build
        -- until the release after it was built
        on history.valid_from < coalesce(build.valid_to, 'infinity')
        and (history.valid_to is null or history.valid_to >= build.valid_to)
) as {{ alias }}
{% endmacro %}
