{#- Removes accents from a name that is written in Latin script throughout, and leaves any other name as it is. -#}
{% macro without_accents(name) -%}
    {{ return(adapter.dispatch('without_accents')(name)) }}
{%- endmacro %}

{% macro default__without_accents(name) -%}
    case
        when octet_length({{ name }}) = char_length({{ name }}) then {{ name }}
        when {{ name }} ~ '[^\u0001-\u024f\u0259\u02b0-\u036f\u1e00-\u1eff\u2000-\u206f]' then {{ name }}
        else regexp_replace(normalize({{ name }}, nfd), '[\u0300-\u036f]+', '', 'g')
    end
{%- endmacro %}

{% macro duckdb__without_accents(name) -%}
    case
        when regexp_matches(
            {{ name }},
            '[^\x{0001}-\x{024f}\x{0259}\x{02b0}-\x{036f}\x{1e00}-\x{1eff}\x{2000}-\x{206f}]'
        ) then {{ name }}
        else strip_accents({{ name }})
    end
{%- endmacro %}
