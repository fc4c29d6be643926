"""Stand-in for dbt's namespace ``dbt`` while sqlfluff expands macros."""

from __future__ import annotations


def string_literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return f"'{text}'"


def escape_single_quotes(text: str) -> str:
    """Return a text with its quotes doubled."""
    return text.replace("'", "''")
