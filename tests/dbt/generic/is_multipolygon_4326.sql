{#-
  The column can hold nothing but MultiPolygons in EPSG:4326. This is read from the column's type and the storage's
  own statistics, so that no geometry is read.
-#}
{% test is_multipolygon_4326(model, column_name) %}
    {{ not_multipolygon_4326(model, column_name) }}
{% endtest %}
