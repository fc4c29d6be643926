{#- The hierarchical dataset that this project is built of: BOUNDARIES in the environment, by default gadm. -#}
{% macro boundaries() %}
    {{ return(env_var('BOUNDARIES', '') or 'gadm') }}
{% endmacro %}

{#- What builds all marts of that dataset, or of another one, as one types it. -#}
{% macro build_command(dataset=none) %}
    {% set dataset = dataset or boundaries() %}
    {{ return(('' if dataset == 'gadm' else 'BOUNDARIES=' ~ dataset ~ ' ') ~ 'dbt build') }}
{% endmacro %}

{#-
  The name of a schema as it is for that dataset: `marts`, or `marts_overture`. So several datasets stand side by side,
  and no query mixes them. (`dbt_project.yml` says the same, which cannot call macros, and ingest/settings.py.)
-#}
{% macro with_dataset(name) %}
    {{ return(name if boundaries() == 'gadm' else name ~ '_' ~ boundaries()) }}
{% endmacro %}
