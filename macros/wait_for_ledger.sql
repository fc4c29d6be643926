{#-
  Makes a staging model wait for the test `rows_agree_with_ledger` on its source, so that a build stops here when rows
  are missing. dbt lets a test hold back only models that depend on everything the test reads. That test also reads
  the ledger, hence the dependency on it.
-#}
{% macro wait_for_ledger() -%}
-- depends_on: {{ source('ledger', 'ingest_runs') }}
-- depends_on: {{ source('ledger', 'ingest_slices') }}
{%- endmacro %}
