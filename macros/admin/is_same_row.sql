{#- Whether two rows are the same row of a source: within a level, these four identify a row of a run. -#}
{% macro is_same_row(one, other) -%}
    {{ one }}.file_no = {{ other }}.file_no
        and {{ one }}.source_file = {{ other }}.source_file
        and {{ one }}.source_layer = {{ other }}.source_layer
        and {{ one }}.source_fid = {{ other }}.source_fid
{%- endmacro %}
