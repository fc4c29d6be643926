{#-
  A unit's key as those of the units below begin. GADM's is without its version, in the regular spelling: `GBR.1.6_1`
  gives `GBR.1.6`, and Ghana's `GHA1.2_2` gives `GHA.1.2`. Other keys stay as they are.
-#}
{% macro key_stem(gid) -%}
    {%- if boundaries() == 'gadm' -%}
    regexp_replace(regexp_replace({{ gid }}, '_[0-9]+$', ''), '^([A-Z]{3})([0-9])', {{ both_groups() }})
    {%- else -%}
    {{ gid }}
    {%- endif -%}
{%- endmacro %}

{#- The two groups of a pattern with a dot between them, to be put in the place of what it matches. -#}
{% macro both_groups() -%}
    {{- return(adapter.dispatch('both_groups')()) -}}
{%- endmacro %}

{% macro default__both_groups() -%}
    '\1.\2'
{%- endmacro %}

{% macro spark__both_groups() -%}
    '$1.$2'
{%- endmacro %}
