{#-
  The schemas that an edition replaces: those of the models and snapshots, as `dbt_project.yml` names them. Seeds are
  part of the project and stay where they are. (They are listed, since a unit test knows no other models.)
-#}
{% macro edition_schemas() %}
    {{ return([with_dataset('intermediate'), with_dataset('marts'), with_dataset('staging')]) }}
{% endmacro %}
