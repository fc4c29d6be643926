{#-
  A name as people type it: lower case, without accents or punctuation (`São Tomé` and `sao tome`, `Saint-Louis` and
  `saint louis`, `Łódź` and `lodz`, `N'Djamena` and `ndjamena`). Only names in Latin script lose their accents: in
  other scripts, what looks like an accent is part of the letter. PostgreSQL's extension unaccent is avoided because
  only a superuser can install it.
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
