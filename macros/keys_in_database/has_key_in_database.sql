{#-
  Whether the database is to have the primary key that a model declares. Not on DuckDB where `meta` says
  `key_is_only_tested`: its index takes eight times the space of the rows and seven times as long, and finds nothing
  that the test `unique_combination` does not find.
-#}
{% macro has_key_in_database(node) %}
    {{ return(target.type != 'duckdb' or not node.config.get('meta', {}).get('key_is_only_tested', false)) }}
{% endmacro %}
