{#-
  A name as people type it: lower case, without accents or punctuation (`São Tomé` and `sao tome`, `Saint‑Louis` and
  `saint louis`, `Łódź` and `lodz`, `N'Djamena` and `ndjamena`). Only Latin and Greek letters lose their accents:
  in other scripts, what looks like an accent is part of the letter.

  `fold_name` in scripts/build_name_folding.py is the definition; both targets return the same for any text. ASCII,
  Latin and the most frequent other letters take short ways; what is left is looked up letter by letter. `lower` of
  PostgreSQL depends on the language of the database, except with the collation "C". Its extension unaccent is avoided
  because only a superuser can install it.
-#}
{% macro fold_name(name) -%}
    {{- return(adapter.dispatch('fold_name')(name)) -}}
{%- endmacro %}

{% macro default__fold_name(name) -%}
    trim(regexp_replace({{ adapter.dispatch('folded_letters')(name, name_folding()) }}, '  +', ' ', 'g'))
{%- endmacro %}

{% macro default__folded_letters(name, folding) -%}
    case
        when octet_length({{ name }}) = char_length({{ name }})
            then translate(lower({{ name }} collate "C"), {{ folding.ascii_exchange }})
        when {{ name }} ~ '^[{{ folding.simple_latin }}]*$'
            then {{ spelled_letters(
                'lower(regexp_replace(normalize(' ~ name ~ ", nfd), '[\\u0300-\\u036f]+', '', 'g') collate \"C\")",
                folding.latin_exchange
            ) }}
        when {{ name }} ~ '^{{ plain_words(folding, folding.plain) }}$'
            then translate(lower(normalize({{ name }}, nfc) collate "C"), {{ folding.plain_exchange }})
        else (
            select case when is_new then accentless else normalize(accentless, nfc) end
            from (
                select
                    bool_or(spelling.is_new) as is_new,
                    regexp_replace(
                        coalesce(
                            string_agg(
                                coalesce(cast('{{ folding.pairs_as_json }}' as jsonb) ->> letter, letter),
                                ''
                                order by letter_number
                            ),
                            left({{ name }}, 0)
                        ),
                        '(^|[\u0001-\u007f{{ folding.latin }}])[{{ folding.marks }}]+', '\1', 'g'
                    ) as accentless
                from (
                    select
                        {{ name }} ~ '[{{ folding.unassigned }}]' as is_new,
                        regexp_replace({{ name }}, '[{{ folding.left_out }}]+', '', 'g') as kept
                ) as spelling
                cross join unnest(string_to_array(
                    translate(
                        lower(case when is_new then kept else normalize(kept, nfc) end collate "C"),
                        {{ folding.ascii_exchange }}
                    ),
                    null
                )) with ordinality as letters (letter, letter_number)
            ) as folded
        )
    end
{%- endmacro %}

{#- DuckDB has no map that is looked up fast: the pairs are found in one long text. -#}
{% macro duckdb__folded_letters(name, folding) -%}
    {%- set kept = 'regexp_replace(' ~ name ~ ", '[" ~ folding.left_out ~ "]+', '', 'g')" -%}
    case
        when strlen({{ name }}) = length({{ name }})
            then translate(lower({{ name }}), {{ folding.ascii_exchange }})
        when regexp_matches({{ name }}, '^[{{ folding.simple_latin }}]*$')
            then {{ spelled_letters('lower(strip_accents(' ~ name ~ '))', folding.latin_exchange) }}
        when regexp_matches({{ name }}, '^{{ plain_words(folding, folding.plain ~ folding.plain_case) }}$')
            then translate(lower(nfc_normalize({{ name }})), {{ folding.plain_exchange }})
        when regexp_matches({{ name }}, '[{{ folding.unassigned }}]')
            then {{ duckdb__looked_up(kept, folding) }}
        else nfc_normalize({{ duckdb__looked_up('nfc_normalize(' ~ kept ~ ')', folding) }})
    end
{%- endmacro %}

{% macro duckdb__looked_up(name, folding) -%}
    regexp_replace(
        array_to_string(
            list_transform(
                string_split(
                    translate(
                        translate(
                            {{ name }},
                            'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'
                        ),
                        {{ folding.ascii_exchange }}
                    ),
                    ''
                ),
                lambda letter: case
                    when not regexp_matches(letter, '[{{ folding.paired }}]') then letter
                    else split_part(split_part('{{ folding.pairs }}', '{{ "\t" }}' || letter, 2), '{{ "\t" }}', 1)
                end
            ),
            ''
        ),
        '(^|[\x01-\x7f{{ folding.latin }}])[{{ folding.marks }}]+', '\1', 'g'
    )
{%- endmacro %}

{#- Matches words in these letters, whose own marks follow them; a mark on anything else would have to be left out. -#}
{% macro plain_words(folding, letters) -%}
    ([{{ folding.between }}]|[{{ letters }}][{{ letters }}{{ folding.plain_marks }}]*)*
{%- endmacro %}

{#- Letters that stand for two are spelled out, and all others exchanged. -#}
{% macro spelled_letters(name, exchange) -%}
    {%- set spelled = namespace(name=name) -%}
    {%- for letter, letters in {'ß': 'ss', 'æ': 'ae', 'Æ': 'ae', 'œ': 'oe', 'Œ': 'oe', 'þ': 'th', 'Þ': 'th'}.items() -%}
        {%- set spelled.name = "replace(" ~ spelled.name ~ ", '" ~ letter ~ "', '" ~ letters ~ "')" -%}
    {%- endfor -%}
    translate({{ spelled.name }}, {{ exchange }})
{%- endmacro %}

{#- A function in Python, see `admin_boundaries.spark.functions`, with the same tables. -#}
{% macro spark__fold_name(name) -%}
    {%- if execute -%}
        {%- do adapter.add_name_folding(name_folding()) -%}
    {%- endif -%}
    fold_name({{ name }})
{%- endmacro %}
