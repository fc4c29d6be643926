{#-
  The dataset that `concordance` compares the built one with; the variable names both: [gadm, overture]. (The yml of
  `other_marts` says the same, which cannot call macros.)
-#}
{% macro other_dataset() %}
    {% set others = var('concordance') | reject('equalto', boundaries()) | list %}
    {% if var('concordance') | length != 2 or others | length != 1 %}
        {% do exceptions.raise_compiler_error("The variable `concordance` names the dataset that is built, "
            ~ boundaries() ~ ", and one other, not " ~ var('concordance') | join(' and ') ~ ". Example: "
            ~ "dbt build --vars 'concordance: [" ~ boundaries() ~ ", "
            ~ ('overture' if boundaries() == 'gadm' else 'gadm') ~ "]'") %}
    {% endif %}
    {{ return(others[0]) }}
{% endmacro %}

{#- On-run-start: the other dataset has been built, if one is to be compared. -#}
{% macro check_other_dataset() %}
    {% if execute and var('concordance', []) %}
        {% set other = other_dataset() %}
        {% for node in graph.sources.values()
            if node.source_name == 'other_marts'
            and adapter.get_relation(node.database, node.schema, node.identifier) is none %}
            {% do exceptions.raise_compiler_error('There are no marts of ' ~ other ~ ' to compare with those of '
                ~ boundaries() ~ '. Build them first: ' ~ build_command(other)) %}
        {% endfor %}
    {% endif %}
{% endmacro %}
