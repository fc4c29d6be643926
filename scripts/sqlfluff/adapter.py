"""Stand-in for dbt's ``adapter`` while sqlfluff expands macros.

Dispatch returns PostgreSQL's variant of a macro, or else the default one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context


@pass_context
def dispatch(context: Context, macro_name: str, *_namespace: str) -> Callable[..., Any]:
    """Return the macro that dbt would choose on PostgreSQL."""
    chosen = context.resolve(f"postgres__{macro_name}")
    if isinstance(chosen, Undefined):
        chosen = context.resolve(f"default__{macro_name}")
    macro: Callable[..., Any] = chosen
    return macro
