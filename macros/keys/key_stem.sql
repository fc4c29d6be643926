{#-
  A unit's key without its version, in the regular spelling: `GBR.1.6_1` gives `GBR.1.6`, and Ghana's `GHA1.2_2` gives
  `GHA.1.2`.
-#}
{% macro key_stem(gid) -%}
    regexp_replace(regexp_replace({{ gid }}, '_[0-9]+$', ''), '^([A-Z]{3})([0-9])', '\1.\2')
{%- endmacro %}
