{#-
  True where a key breaks the publisher's pattern. GADM has three characters for a country, otherwise country, dotted
  numbers and version (`TGO.1.2_1`). This catches `?`, Ghana's missing dot, a missing version (`IDN.35.4.1`) and
  `CHN.HKG`. The keys of other publishers have no parts.
-#}
{% macro is_malformed_key(gid, admin_level) -%}
    {%- if boundaries() == 'gadm' -%}
    case
        when {{ admin_level }} = 0
            then not {{ matches_regex(gid, '^[A-Z][A-Z0-9]{2}$') }}
        else not {{ matches_regex(gid, '^[A-Z][A-Z0-9]{2}([.][0-9]+)+_[0-9]+$') }}
    end
    {%- else -%}
    false
    {%- endif -%}
{%- endmacro %}
