{#-
  Makes a staging model wait for the test `rows_agree_with_ledger` on its source. That test reads the ledger besides the source, and dbt lets a test hold back only what depends on everything
  that the test reads: so staging names the ledger as well, and a build stops here when rows are missing.
-#}
{% macro wait_for_ledger() -%}
-- depends_on: {{ source('ledger', 'ingest_runs') }}
-- depends_on: {{ source('ledger', 'ingest_slices') }}
{%- endmacro %}
