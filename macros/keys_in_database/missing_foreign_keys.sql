{#-
  A select that returns one row per foreign key that a relationships test declares and the database lacks or has not
  validated, see `missing_primary_keys`. None is expected on DuckDB.
-#}
{% macro missing_foreign_keys(is_derived=false) %}
    {{ return(adapter.dispatch('missing_foreign_keys')(is_derived)) }}
{% endmacro %}

{% macro default__missing_foreign_keys(is_derived) %}
select 'none' as name
where 1 = 0
{% endmacro %}

{#-
  A key to a table that this build leaves as it is comes only when the edition is published, and is not expected yet.
-#}
{% macro postgres__missing_foreign_keys(is_derived) %}
{% set keys = [] %}
{% for key in declared_foreign_keys() if ('derived' in graph.nodes[key.models[0]].tags) == is_derived %}
    {% set child, parent = in_sight(key.child), in_sight(key.parent) %}
    {% if child.schema == parent.schema %}
        {% do keys.append({'name': key.name, 'child': child, 'parent': parent}) %}
    {% endif %}
{% endfor %}
{% if execute and not declared_foreign_keys() %}
    {% do exceptions.raise_compiler_error('No relationships test between two marts declares a foreign key.') %}
{% endif %}
select declared.name
from (values
    ('', null, null)
    {%- for key in keys %},
    ('{{ key.name }}', '{{ key.child }}', '{{ key.parent }}')
    {%- endfor %}
) as declared (name, child, parent)
left join pg_constraint
    on declared.name = pg_constraint.conname
    and pg_constraint.contype = 'f'
    and pg_constraint.conrelid = to_regclass(declared.child)
    and pg_constraint.confrelid = to_regclass(declared.parent)
    and pg_constraint.convalidated
where declared.name <> ''
    and pg_constraint.oid is null
{% endmacro %}

{#- Where a mart stands for the tests of this run: as `ref` has it, without a dependency. -#}
{% macro in_sight(relation) %}
    {{ return(beside(relation) if is_in_progress(relation) else relation) }}
{% endmacro %}
