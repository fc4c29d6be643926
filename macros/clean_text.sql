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
    {%- set cleaned = namespace(text="regexp_replace(" ~ column ~ ", '^" ~ blank ~ "|" ~ blank ~ "$', '', 'g')") -%}
    {%- for word in [''] + missing -%}
        {%- set cleaned.text = 'nullif(' ~ cleaned.text ~ ', ' ~ "'" ~ word ~ "')" -%}
    {%- endfor -%}
    {{ cleaned.text }}
{%- endmacro %}
