"""The SQL of this project in Spark's words.

Models, tests and unit tests are written once, in the SQL that PostgreSQL and DuckDB share. What Spark calls by another
name, and never means otherwise, is renamed here, outside of texts and comments. What it does in another way stands in
macros: ``spark__…``.
"""

from __future__ import annotations

import re

NO_GEOMETRY = re.compile(r"cast\(null as geometry(\([^()]*\))?\)")
# Whatever is no code: a text, a name in quotation marks, a comment.
APART = re.compile(r"""('(?:[^']|'')*'|"[^"]*"|`[^`]*`|--[^\n]*|/\*.*?\*/)""", re.DOTALL)
WORDS = (
    # Spark itself decides what is worth keeping
    (re.compile(r"\bas (?:not )?materialized \("), "as ("),
    (re.compile(r"\btext\[\]"), "array<string>"),
    (re.compile(r"(?<=\bas )text\b(?=\))"), "string"),
    (re.compile(r"\bdouble precision\b"), "double"),
    (re.compile(r"\btimestamp with time zone\b"), "timestamp"),
    (re.compile(r"\bstrpos\("), "instr("),
)


def in_spark(sql: str) -> str:
    """Return a statement as Spark SQL reads it.

    Parameters
    ----------
    sql : str
        A statement in the SQL of the project; a backslash in a text is a backslash.

    Returns
    -------
    str
    """
    sql = NO_GEOMETRY.sub("st_geomfromwkb(cast(null as binary))", sql)
    pieces = APART.split(sql)  # code, what is apart from it, code …
    return "".join(_text(piece) if number % 2 else _renamed(piece) for number, piece in enumerate(pieces))


def type_in_spark(name: str) -> str:
    """Return the name that Spark has for a type of a column."""
    return _renamed("string" if name == "text" else name)


def _renamed(code: str) -> str:
    for pattern, name in WORDS:
        code = pattern.sub(name, code)
    return code


def _text(piece: str) -> str:
    r"""Return a text with Spark's escapes: ``'it''s \d'`` becomes ``'it\'s \\d'``."""
    if not piece.startswith("'"):
        return piece
    return "'" + piece[1:-1].replace("\\", "\\\\").replace("''", "\\'") + "'"
