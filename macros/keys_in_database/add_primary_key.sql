{#-
  Post-hook, inside the model's transaction: adds the primary key that the contract declares. The key is unnamed,
  because the previous table still holds the default name. Its comment is the id of the dbt run, which tells the run's
  other tables that this one is finished. DuckDB has the key from `create table` on.
-#}
{% macro add_primary_key() %}
    {{ return(adapter.dispatch('add_primary_key')()) }}
{% endmacro %}

{% macro default__add_primary_key() %}
{% endmacro %}

{% macro postgres__add_primary_key() %}
    {% set columns = declared_primary_key(model) %}
    {% if execute and columns %}
do $primary_key$
begin
    alter table {{ this }} add primary key ({{ columns | join(', ') }});
    execute (
        select format('comment on constraint %I on %s is %L', conname, conrelid::regclass, '{{ invocation_id }}')
        from pg_constraint
        where contype = 'p' and conrelid = to_regclass('{{ this.include(database=false) }}')
    );
end
$primary_key$
    {% endif %}
{% endmacro %}
