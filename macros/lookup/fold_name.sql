{#-
  A name as people type it: small letters, no accents, no marks (`São Tomé` and `sao tome`, `Saint-Louis` and `saint louis`, `Łódź` and `lodz`, `N'Djamena` and `ndjamena`). Accents are taken off names in Latin
  script only: elsewhere what looks like one is part of the letter. Written without PostgreSQL's extension unaccent, which only a superuser can install.
-#}
{% macro fold_name(name) -%}
    trim(regexp_replace(
        translate(
            replace(replace(replace(replace(replace(replace(
                lower({{ without_accents(name) }}),
                'ß', 'ss'), 'æ', 'ae'), 'Æ', 'ae'), 'œ', 'oe'), 'þ', 'th'), 'Þ', 'th'),
            'øØłŁđĐðÐħĦŧŦıəƏ-_/.,;:()''’‘ʻʼʾʿ´`"“”%*\',
            'oollddddhhttiee         '
        ),
        ' +', ' ', 'g'
    ))
{%- endmacro %}
