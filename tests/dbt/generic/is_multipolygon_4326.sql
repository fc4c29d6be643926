{#-
  The column can hold nothing but MultiPolygons in EPSG:4326. Asked of the column's type and of the storage's own statistics, so that no geometry is read.
-#}
{% test is_multipolygon_4326(model, column_name) %}
    {{ not_multipolygon_4326(model, column_name) }}
{% endtest %}
