"""What a command of dbt makes, by its flags."""

from __future__ import annotations

from typing import Any

BUILDING = ("build", "run", "seed", "snapshot")


def is_whole(flags: Any) -> bool:
    """Whether a command makes all models, snapshots and seeds. Leaving out tests leaves out none of them."""
    made = {"model", "snapshot", "seed"}
    names = ("RESOURCE_TYPES", "EXCLUDE_RESOURCE_TYPES")
    types, left_out = ({str(kind) for kind in getattr(flags, name, None) or ()} for name in names)
    return (
        flags.WHICH == "build"
        and not any(getattr(flags, name, None) for name in ("SELECT", "EXCLUDE", "SELECTOR"))
        and (not types or "all" in types or made <= types)
        and not left_out & (made | {"all"})
    )
