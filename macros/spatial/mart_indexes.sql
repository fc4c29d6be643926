{#-
  Indexes of a mart, for its config: one on the geometry if there is one, one per column that people filter by, and
  one per column that they search by prefix. Only PostgreSQL gets them. On DuckDB, zone maps serve filters, every
  reader would have to hold a spatial index in memory, and primary keys bring their own index.
-#}
{% macro mart_indexes(columns=[], geometry=none, prefixes=[]) %}
    {{ return(adapter.dispatch('mart_indexes')(columns, geometry, prefixes)) }}
{% endmacro %}

{% macro default__mart_indexes(columns, geometry, prefixes) %}
    {% set indexes = [] %}
    {% for column in columns %}
        {% do indexes.append({'columns': [column]}) %}
    {% endfor %}
    {% for column in prefixes %}
        {% do indexes.append({'columns': [column ~ ' text_pattern_ops']}) %}
    {% endfor %}
    {% if geometry %}
        {% do indexes.append({'columns': [geometry], 'type': 'gist'}) %}
    {% endif %}
    {{ return(indexes) }}
{% endmacro %}

{% macro duckdb__mart_indexes(columns, geometry, prefixes) %}
    {{ return([]) }}
{% endmacro %}

{% macro spark__mart_indexes(columns, geometry, prefixes) %}
    {{ return([]) }}
{% endmacro %}
