{#-
  True in a command that builds: it works on an edition of its own, beside the one that readers see. False in another
  project that has this one as a package, to read its marts: docs/connect.md.
-#}
{% macro is_building() %}
    {{ return(execute and project_name == 'admin_boundaries' and flags.WHICH in ('build', 'run', 'seed', 'snapshot')) }}
{% endmacro %}
