{#-
  Whether the database is to have the primary key that a model declares. Not on DuckDB where `meta` says
  `key_is_only_tested`, because the index would be far larger than the rows: the test `unique_combination` checks it.
-#}
{% macro has_key_in_database(node) %}
    {{ return(target.type != 'duckdb' or not node.config.get('meta', {}).get('key_is_only_tested', false)) }}
{% endmacro %}
