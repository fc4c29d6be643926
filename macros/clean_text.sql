{#-
  Text without white space, control characters and marks without width at its ends; an empty string and the publisher's
  words for missing become NULL. Ingest cleans text the same way while loading (ingest/engines/text.py; a test compares
  the code points); repeating it here covers rows that reached raw by another route. `trim` removes other characters on
  each target, and with a list of so many it is slow.
-#}
{% macro clean_text(column, missing=['NA']) -%}
    {%- set first_and_last = [
        [0x7f, 0xa0], [0xad, 0xad], [0x34f, 0x34f], [0x61c, 0x61c], [0x115f, 0x1160], [0x1680, 0x1680],
        [0x180e, 0x180e], [0x2000, 0x200f], [0x2028, 0x202f], [0x205f, 0x206f], [0x3000, 0x3000], [0x3164, 0x3164],
        [0xfeff, 0xfeff], [0xffa0, 0xffa0],
    ] -%}
    {%- set ranges = ['\\x01- '] -%}
    {%- for points in first_and_last -%}
        {%- do ranges.append('%c-%c' % (points[0], points[1])) -%}
    {%- endfor -%}
    {%- set blank = '[' ~ ranges | join ~ ']+' -%}
    {%- set cleaned = namespace(text=without_all(column, '^' ~ blank ~ '|' ~ blank ~ '$')) -%}
    {%- for word in [''] + missing -%}
        {%- set cleaned.text = 'nullif(' ~ cleaned.text ~ ', ' ~ "'" ~ word ~ "')" -%}
    {%- endfor -%}
    {{ cleaned.text }}
{%- endmacro %}

{#- A text without whatever matches a pattern. -#}
{% macro without_all(column, pattern) -%}
    {{- return(adapter.dispatch('without_all')(column, pattern)) -}}
{%- endmacro %}

{% macro default__without_all(column, pattern) -%}
    {{- "regexp_replace(" ~ column ~ ", '" ~ pattern ~ "', '', 'g')" -}}
{%- endmacro %}

{#- Spark replaces all matches, and takes a fourth argument for a place to begin at. -#}
{% macro spark__without_all(column, pattern) -%}
    {{- "regexp_replace(" ~ column ~ ", '" ~ pattern ~ "', '')" -}}
{%- endmacro %}

{#- The cleaned texts between the bars of a text, one per row. -#}
{% macro clean_parts(column) -%}
    {{- return(adapter.dispatch('clean_parts')(column)) -}}
{%- endmacro %}

{% macro default__clean_parts(column) -%}
    {{- clean_text(parts_of(column)) -}}
{%- endmacro %}

{#- What makes rows may not stand within another function. -#}
{% macro spark__clean_parts(column) -%}
    explode(transform(split({{ column }}, '[|]'), part -> {{ clean_text('part') }}))
{%- endmacro %}

{#- The texts between the bars of a text, one per row. -#}
{% macro parts_of(column) -%}
    {{- return(adapter.dispatch('parts_of')(column)) -}}
{%- endmacro %}

{% macro default__parts_of(column) -%}
    {{- "unnest(string_to_array(" ~ column ~ ", '|'))" -}}
{%- endmacro %}

{% macro spark__parts_of(column) -%}
    explode(split({{ column }}, '[|]'))
{%- endmacro %}
