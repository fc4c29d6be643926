{#- True in a command that builds: it works on an edition of its own, beside the one that readers see. -#}
{% macro is_building() %}
    {{ return(execute and flags.WHICH in ('build', 'run', 'seed', 'snapshot')) }}
{% endmacro %}
