"""Write the tables of Unicode that `fold_name` uses on both targets: `macros/lookup/name_folding.sql`.

PostgreSQL and DuckDB disagree with each other, and from version to version, about which letters are capitals and what
is compatible with what; PostgreSQL also follows the language of the database. Both therefore look letters up in one
table, made here from Python's Unicode data. What is left to them is NFC, which Unicode promises never to change for
characters that it has assigned. Text with characters that it had not assigned in this version is not normalized.

`fold_name` is the reference: the tests compare both targets with it.

    python scripts/build_name_folding.py
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

MACRO = Path(__file__).parents[1] / "macros" / "lookup" / "name_folding.sql"
UNICODE = "14.0.0"  # the oldest version among Python 3.11, PostgreSQL 15 and DuckDB

# Left out of a name, wherever they are: marks of direction and width, joiners, fillers, variation selectors.
IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
DASHES = (
    "-\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2053\u207b\u208b\u2212\u2e17\u2e1a"
    "\u2e3a\u2e3b\u2e40\u2e5d\u301c\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d\U00010ead"
)
BETWEEN_WORDS = frozenset(SPACES + DASHES + "_/.,;:()\u2044\u2215\u30fb\uff65")
# Apostrophes, quotation marks, primes and accents that stand alone; the dot in the Catalan "l·l".
LEFT_OUT = frozenset(
    "'\"`%*\\\xa8\xab\xaf\xb4\xb7\xb8\xbb\u02b9\u02ba\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u02ca\u02cb\u02d8\u02d9\u02da\u02db"
    "\u02dc\u02dd\u02ee\u0374\u037a\u0384\u0385\u055a\u05f3\u05f4\u07f4\u07f5\u1fbd\u1fbf\u1fc0\u1fc1\u1fcd\u1fce\u1fcf"
    "\u1fdd\u1fde\u1fdf\u1fed\u1fee\u1fef\u1ffd\u1ffe\u2017\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033\u2034"
    "\u2035\u2036\u2037\u2039\u203a\u203e\u2057\u275b\u275c\u275d\u275e\u301d\u301e\u301f\ua78b\ua78c\uff02\uff07\uff40"
)
ACCENTED = ("LATIN", "GREEK")  # scripts that lose their accents: people leave them out, in Greek of all capitals
SPELLED = {"ı": "i", "ə": "e", "ð": "d", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th", "ς": "σ"}
MANY_LETTERS = {"ß": "ss", "æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "þ": "th", "Þ": "th"}

# What the short ways exchange, and blocks whose other letters stay as they are: those of scripts with many names.
FREQUENT_MARKS = (
    "\xa0\xb4\xb7\u02b9\u02ba\u02bb\u02bc\u02be\u02bf\u2010\u2011\u2012\u2013\u2014\u2018\u2019\u201a"
    "\u201c\u201d\u201e\u2032"
)
FREQUENT_LETTERS = "øØłŁđĐðÐħĦŧŦıəƏŋŊɓƁɗƊƙƘɛƐɔƆɨƗ"
FREQUENT_CAPITALS = (
    "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩςΆΈΉΊΌΎΏΪΫάέήίόύώϊϋΐΰ" + "".join(map(chr, range(0x400, 0x430))) + "ҐӘӨҒҚҢҮҰҺ"
)
PLAIN_BLOCKS = (
    (0x370, 0x45F), (0x490, 0x493), (0x5D0, 0x6FF), (0x900, 0xDFF), (0xE01, 0xEFF), (0x1000, 0x109F),
    (0x10D0, 0x10FF), (0x1200, 0x137F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3041, 0x30FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
)  # fmt: skip
BLOCKS_WITH_CASE = (
    (0x460, 0x58F), (0x10A0, 0x10FF), (0x13A0, 0x13FF), (0x1C80, 0x1CBF), (0x2C00, 0x2C5F), (0x2D00, 0x2D2F),
    (0xA640, 0xA69F), (0xAB70, 0xABBF),
)  # fmt: skip


def fold_name(name: str) -> str:
    """Return a name as people type it: what `marts.fold_name` returns on both targets.

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    str
        Lower case; no accents on Latin and Greek letters; no apostrophes; one space between words.
    """
    kept = "".join(letter for letter in name if letter < "\x80" or _folded(letter))
    is_known = not any(map(_is_unassigned, kept))
    composed = unicodedata.normalize("NFC", kept) if is_known else kept
    small = "".join(_folded(letter) if letter < "\x80" else table().get(letter, letter) for letter in composed)
    accentless = _accents().sub(r"\1", small)
    composed = unicodedata.normalize("NFC", accentless) if is_known else accentless
    return re.sub(" +", " ", composed).strip(" ")


@cache
def _folded(letter: str) -> str:
    """Return what a letter is folded to, in the end."""
    before, after = None, letter
    while before != after:
        before = after
        after = "".join(map(_step, unicodedata.normalize("NFKC", "".join(map(_step, before)))))
    return unicodedata.normalize("NFC", after)


def _step(letter: str) -> str:
    if letter in BETWEEN_WORDS:
        return " "
    if letter in LEFT_OUT or ord(letter) in _ignorable():
        return ""
    decomposed = unicodedata.normalize("NFD", letter)
    base = decomposed[0]
    if decomposed != base and (base < "\x80" or unicodedata.name(base, "").startswith(ACCENTED)):
        return _step(base)
    small = letter if letter == "İ" else letter.lower()
    stroke = re.fullmatch(r"LATIN SMALL LETTER ([A-Z]) WITH .*", unicodedata.name(small, ""))
    return SPELLED.get(small) or (stroke[1].lower() if stroke else small)


@cache
def _ignorable() -> frozenset[int]:
    return frozenset(_points(IGNORABLE))


@cache
def _is_unassigned(letter: str) -> bool:
    return unicodedata.category(letter) == "Cn" and ord(letter) not in _ignorable()


@cache
def _accented() -> dict[int, None]:
    """Return the letters, once folded, that lose their accents."""
    return {
        point: None
        for point in _scalars()
        if unicodedata.name(chr(point), "").startswith(ACCENTED) and _folded(chr(point)) == chr(point)
    }


@cache
def _marks() -> list[int]:
    """Return what stands above, below or through the letter before it."""
    return [point for point in _scalars() if unicodedata.combining(chr(point))]


@cache
def _accents() -> re.Pattern[str]:
    return re.compile(f"(^|[\x01-\x7f{_class(_accented())}])[{_class(_marks())}]+")


def _points(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    return (point for first, last in ranges for point in range(first, last + 1))


def _scalars() -> Iterator[int]:
    """Yield the code points that may be folded to something else: beyond, there are ideographs and private letters."""
    yield from (point for point in range(1, 0x30000) if not 0xD800 <= point < 0xE000)
    yield from range(0xE0000, 0xE1000)


def _ranges(points: Iterable[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for point in points:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1] = (ranges[-1][0], point)
        else:
            ranges.append((point, point))
    return ranges


def _class(points: Iterable[int]) -> str:
    return "".join(chr(first) if first == last else f"{chr(first)}-{chr(last)}" for first, last in _ranges(points))


@cache
def table() -> dict[str, str]:
    """Return every letter that is looked up: all that fold to something else and that no other step removes."""
    found = {}
    for point in _scalars():
        letter = chr(point)
        is_exchanged = unicodedata.normalize("NFC", letter) != letter  # NFC comes first
        if point > 0x7F and not is_exchanged and _folded(letter) not in ("", letter):
            found[letter] = _folded(letter)
    return found


@cache
def latin_letters() -> dict[str, str]:
    """Return what is exchanged on the short way for Latin script, once it has lost its accents."""
    found = {letter: _folded(letter) for letter in sorted(FREQUENT_LETTERS + FREQUENT_MARKS)}
    return {letter: folded for letter, folded in found.items() if folded != letter}


def _is_simple_latin(letter: str) -> bool:
    """Whether a letter may take the short way for Latin script: losing accents and one exchange fold it."""
    if "\u0300" <= letter <= "\u036f":
        return len(unicodedata.normalize("NFD", letter)) == 1 and ord(letter) not in _ignorable()
    if letter >= "\u0250" and letter not in latin_letters() and not "\u1e00" <= letter < "\u1f00":
        return False
    if _is_unassigned(letter) or ord(letter) in _ignorable():
        return False
    exchanged = latin_letters() | MANY_LETTERS
    bare = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", letter))
    short = "".join(exchanged.get(c, _folded(c) if c < "\x80" else c) for c in bare)
    return short == _folded(letter) and all(c < "\x80" or ord(c) in _accented() for c in short)


@cache
def plain_letters() -> dict[str, str]:
    """Return what is exchanged on the short way for other scripts."""
    return {letter: _folded(letter) for letter in sorted(FREQUENT_CAPITALS + FREQUENT_MARKS + "\u30fb")}


def _is_plain(letter: str) -> bool:
    """Whether a letter may take the short way for other scripts: NFC and one exchange fold it."""
    return any(a <= ord(letter) <= b for a, b in PLAIN_BLOCKS) and _is_exchanged(letter, letter)


def _has_plain_case(letter: str) -> bool:
    """Whether a letter may take that way only where `lower` knows every script, as in DuckDB."""
    is_possible = any(a <= ord(letter) <= b for a, b in BLOCKS_WITH_CASE)
    return is_possible and _is_exchanged(letter, letter.lower()) and not _is_plain(letter)


def _is_between(letter: str) -> bool:
    """Whether a letter loses the marks behind it once it is folded on that way, so that none may follow it."""
    return letter < "\x80" or plain_letters().get(letter, letter) in ("", " ") or _is_plain_greek(letter)


def _is_plain_greek(letter: str) -> bool:
    exchanged = {plain_letters().get(each, each) for each in (letter, letter.lower())}
    return "\u0370" <= letter < "\u0400" and exchanged == {_folded(letter)} and ord(_folded(letter)[0]) in _accented()


def _is_exchanged(letter: str, small: str) -> bool:
    if _is_unassigned(letter) or ord(letter) in _accented() or len(small) > 1 or _is_between(letter):
        return False
    return plain_letters().get(letter, small) == _folded(unicodedata.normalize("NFC", letter))


def _chosen(is_chosen: Callable[[str], bool]) -> list[int]:
    return [point for point in _scalars() if point < 0x10000 and is_chosen(chr(point))]


def _jinja_text(text: str) -> str:
    escaped = "".join(
        c if "\x20" <= c < "\x7f" and c not in "'\\" else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
        for c in text
    )
    return f"'{escaped}'"


def _wrapped(items: Iterable[str], indent: int = 8, width: int = 116) -> str:
    lines, line = [], " " * indent
    for item in items:
        if len(line) + len(item) + 1 > width:
            lines.append(line.rstrip())
            line = " " * indent
        line += item + " "
    return "\n".join([*lines, line.rstrip()])


def _runs(found: dict[str, str]) -> tuple[list[str], list[str]]:
    """Shorten a table: runs of letters whose partners lie at one distance, and all others one by one."""
    runs: list[list[int]] = []
    others = []
    for letter, small in found.items():
        point = ord(letter)
        if len(small) != 1:
            others.append(f"{point:x}=" + "+".join(f"{ord(each):x}" for each in small))
            continue
        shift = ord(small) - point
        last = runs[-1] if runs else None
        if last and last[3] == shift and (point - last[1] == last[2] or (last[0] == last[1] and point - last[1] < 3)):
            last[1:3] = [point, point - last[1]]
        else:
            runs.append([point, point, 1, shift])
    return [f"{a:x},{b:x},{step},{shift}" for a, b, step, shift in runs], others


def macro() -> str:
    """Return the text of the macro."""
    runs, others = _runs(table())
    marks = frozenset(_marks())

    def ranges(points: Iterable[int]) -> str:
        return _wrapped(f"{a:x}-{b:x}" for a, b in _ranges(points))

    def exchange(found: dict[str, str]) -> str:
        ordered = sorted(found.items(), key=lambda item: not item[1])  # what has no partner is left out
        return ",\n".join(_jinja_lines("".join(letters)) for letters in zip(*ordered, strict=True))

    ascii_letters = ((chr(point), _folded(chr(point))) for point in range(1, 128))
    others_of_ascii = {letter: folded for letter, folded in ascii_letters if folded != letter.lower()}
    values = {
        "unicode": UNICODE,
        "runs": _wrapped(runs),
        "others": _wrapped(others),
        "unassigned": ranges(point for point in range(sys.maxunicode + 1) if _is_unassigned(chr(point))),
        "left_out": ranges(point for point in _scalars() if point > 0x7F and not _folded(chr(point))),
        "paired": ranges(map(ord, table())),
        "latin": ranges(_accented()),
        "marks": ranges(_marks()),
        "simple_latin": ranges(_chosen(_is_simple_latin)),
        "between": ranges(_chosen(_is_between)),
        "plain": ranges(p for p in _chosen(_is_plain) if p not in marks),
        "plain_case": ranges(p for p in _chosen(_has_plain_case) if p not in marks),
        "plain_marks": ranges(p for p in _chosen(_is_plain) if p in marks),
        "ascii_letters": exchange(others_of_ascii),
        "latin_letters": exchange(latin_letters() | others_of_ascii),
        "plain_letters": exchange(plain_letters() | others_of_ascii),
    }
    return re.sub("@([a-z_]+)@", lambda match: values[match[1]], TEMPLATE)


def _jinja_lines(text: str) -> str:
    chunks = (_jinja_text(text[at : at + 16]) for at in range(0, len(text), 16))
    return " " * 12 + ("\n" + " " * 12 + "~ ").join(chunks)


TEMPLATE = """\
{#-
  The tables of `fold_name`, of Unicode @unicode@. Written by scripts/build_name_folding.py, which says why. Letters are
  code points in hexadecimal digits, since many cannot be seen. They stand as text: dbt would take half a second to
  parse them as lists.
-#}
{% macro name_folding() -%}
    {%- set classes = {
        'unassigned': '
@unassigned@
        ',
        'left_out': '
@left_out@
        ',
        'paired': '
@paired@
        ',
        'latin': '
@latin@
        ',
        'marks': '
@marks@
        ',
        'simple_latin': '
@simple_latin@
        ',
        'between': '
@between@
        ',
        'plain': '
@plain@
        ',
        'plain_case': '
@plain_case@
        ',
        'plain_marks': '
@plain_marks@
        ',
    } -%}
    {#- first, last, step, distance to the partner; and letters of which several stand in the place -#}
    {%- set runs = '
@runs@
    ' -%}
    {%- set others = '
@others@
    ' -%}
    {%- set exchanges = {
        'ascii': [
@ascii_letters@
        ],
        'latin': [
@latin_letters@
        ],
        'plain': [
@plain_letters@
        ],
    } -%}
    {%- set letters = [] -%}
    {%- for other in others.split() -%}
        {%- set point, points = other.split('=') -%}
        {%- set folded = [] -%}
        {%- for each in points.split('+') -%}
            {%- do folded.append('%c' % each | int(base=16)) -%}
        {%- endfor -%}
        {%- do letters.append([point | int(base=16), folded | join]) -%}
    {%- endfor -%}
    {%- for run in runs.split() -%}
        {%- set first, last, step, distance = run.split(',') -%}
        {%- for point in range(first | int(base=16), (last | int(base=16)) + 1, step | int) -%}
            {%- do letters.append([point, '%c' % (point + (distance | int))]) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- set lines, members = [], [] -%}
    {%- for point, folded in letters -%}
        {%- do lines.append('%c' % point ~ folded) -%}
        {%- do members.append('"%c":"%s"' % (point, folded)) -%}
    {%- endfor -%}
    {%- set folding = {
        'pairs': '\\t' ~ lines | join('\\t') ~ '\\t',
        'pairs_as_json': '{' ~ members | join(',') ~ '}',
    } -%}
    {%- for name, ranges in classes.items() -%}
        {%- set parts = [] -%}
        {%- for range_of_points in ranges.split() -%}
            {%- set first, last = range_of_points.split('-') -%}
            {%- set first, last = first | int(base=16), last | int(base=16) -%}
            {%- do parts.append(('%c-%c' if first > 1 else '\\\\x%02x-%c') % (first, last)) -%}
        {%- endfor -%}
        {%- do folding.update({name: parts | join}) -%}
    {%- endfor -%}
    {%- for name, (letters, partners) in exchanges.items() -%}
        {%- do folding.update({name ~ '_exchange': "'" ~ letters | replace("'", "''") ~ "', '" ~ partners ~ "'"}) -%}
    {%- endfor -%}
    {{ return(folding) }}
{%- endmacro %}
"""

if __name__ == "__main__":
    MACRO.write_text(macro(), encoding="utf-8")
