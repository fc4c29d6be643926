{#- Post-hook of `admin_units_history`: the release that ended a row is the one that this build is of. -#}
{% macro note_release_of_the_end() %}
    {% if execute %}
update {{ beside(this) }}
set release_to = {{ text_literal(pinned_run(boundaries()).release) }}
where valid_to = {{ time_of_build() }}
    {% endif %}
{% endmacro %}
