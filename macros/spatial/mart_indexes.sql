{#-
  Indexes of a mart, for its config: one on the geometry where it has one, one per column that people filter by, and one per column
  whose beginning they look for. PostgreSQL gets them all. DuckDB gets
  none: its zone maps serve filters, its spatial index would have to be held in memory by every reader, and primary keys bring their own.
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
