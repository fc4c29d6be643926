"""The published boundaries, for Python: units, names, points and SQL, the same on DuckDB and PostGIS.

``admin_boundaries.open()`` returns a `World`; docs/connect.md shows what it can do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from admin_boundaries.rows import Rows
    from admin_boundaries.units import Neighbour, Unit, Units, Zone
    from admin_boundaries.world import MartsStale, Place, World
    from admin_boundaries.world import open_world as open  # noqa: A004  it is called as admin_boundaries.open()

__all__ = ["MartsStale", "Neighbour", "Place", "Rows", "Unit", "Units", "World", "Zone", "open"]
_WHERE = {"Rows": "rows", **dict.fromkeys(("Neighbour", "Unit", "Units", "Zone"), "units")}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing before: every module of this package imports this one."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{_WHERE.get(name, 'world')}")
    return getattr(module, "open_world" if name == "open" else name)
