{#-
  At the end of a build: logs in one line what changed since the release before, if there is one. The line is that of
  `python -m ingest changes`, from `admin_boundaries.what_changed.summary`.
-#}
{% macro log_changes() %}
    {% set before = run_before(boundaries()) %}
    {% if 'model.admin_boundaries.admin_unit_changes' in selected_resources and before.run_id is not none %}
        {% set counted = {
            'new': "unit_of = 'to'",
            'gone': "unit_of = 'from'",
            'renamed': "change_type = 'renamed'",
            're-keyed': "change_type = 're-keyed'",
            'moved': "change_type = 'moved'",
            'reshaped': "change_type = 'reshaped'",
            'split': "change_type = 'split' and unit_of <> 'to'",
            'merged': "change_type = 'merged' and unit_of <> 'from'",
            'complex': "change_type = 'complex' and unit_of <> 'to'",
            'kept': "change_type = 'kept'",
        } %}
        {% set columns = [] %}
        {% for condition in counted.values() %}
            {% do columns.append('count(*) filter (where ' ~ condition ~ ')') %}
        {% endfor %}
        {% set mart = beside(marts_meta()).incorporate(path={'identifier': 'admin_unit_changes'}) %}
        {% set counts = run_query('select ' ~ columns | join(', ') ~ ' from ' ~ mart).rows[0] %}
        {% set told = [] %}
        {% for name in counted %}
            {% set count = counts[loop.index0] | int %}
            {% if loop.last and not told %}
                {% do told.append('nothing changed') %}
            {% endif %}
            {% if count > 0 %}
                {% do told.append('{:,}'.format(count) ~ ' ' ~ name) %}
            {% endif %}
        {% endfor %}
        {% do log(before.release ~ ' → ' ~ pinned_run(boundaries()).release ~ ': ' ~ told | join(', '), info=true) %}
    {% endif %}
{% endmacro %}
