"""The two releases that the marts compare: the one that they are of, and the publication before it."""

from __future__ import annotations

from dataclasses import dataclass

from admin_boundaries.marts import Mart
from admin_boundaries.warehouse import Warehouse, how_to_make, known_marts
from ingest.errors import ReleaseMissing
from ingest.settings import build_command

CHANGES, CROSSWALK = "admin_unit_changes", "admin_unit_crosswalk"


@dataclass(frozen=True)
class Releases:
    """Two releases of a dataset, as the marts compare them.

    Attributes
    ----------
    dataset : str
        The dataset.
    earlier, later : str
        Their names. They may be the same: a publisher's file changed, or a country was added.
    """

    dataset: str
    earlier: str
    later: str

    def __str__(self) -> str:
        return f"{self.earlier} → {self.later}"

    def is_backwards(self, from_release: str, to_release: str) -> bool:
        """Return whether two releases are these in reverse order.

        Raises
        ------
        ReleaseMissing
            When they are not these two.
        """
        if (from_release, to_release) == (self.earlier, self.later):
            return False
        if (from_release, to_release) == (self.later, self.earlier):
            return True
        raise ReleaseMissing(
            f"The marts of {self.dataset} compare {self.earlier} with {self.later}, "
            f"not {from_release} with {to_release}.",
            f"Load {from_release}, then {to_release}: python -m ingest {self.dataset} --release …; then build the "
            f"marts: {build_command(self.dataset)} --vars 'since: \"{from_release}\"'.",
        )


def compared(warehouse: Warehouse) -> tuple[Releases, dict[str, Mart]]:
    """Return the releases that the marts compare, and all marts by name.

    Raises
    ------
    ReleaseMissing
        When the marts compare none: there was no publication before, or an older version has built them.
    MartsMissing
        When the marts have not been built.
    """
    known = known_marts(warehouse)
    dataset, build = warehouse.dataset, build_command(warehouse.dataset)
    if not {CHANGES, CROSSWALK} <= set(known) or "before_release" not in known["marts_meta"].columns:
        raise ReleaseMissing(f"The marts of {dataset} compare no releases.", how_to_make(warehouse))
    query = (
        f"select before_release, release from {warehouse.marts}.marts_meta "  # noqa: S608  it contains no value
        "where dataset = ? and before_run_id is not null"
    )
    found = warehouse.rows(query, [dataset])
    if not found:
        raise ReleaseMissing(
            f"The marts of {dataset} hold one release, and nothing to compare it with.",
            f"Load another release: python -m ingest {dataset} --release …; then build the marts: {build}. The one "
            "that was loaded before stays for comparison.",
        )
    ((earlier, later),) = found
    return Releases(dataset, earlier, later), known
