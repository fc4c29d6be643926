"""Functions for Spark SQL that Spark does not have.

They are sent to the workers as they are, which therefore need Shapely but nothing of this project.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from admin_boundaries import cutting
from admin_boundaries.cutting import cut_polygon


def name_folder(folding: Mapping[str, str]) -> Callable[[str | None], str | None]:
    """Return `fold_name`, the function that is `marts.fold_name` on the other targets.

    Parameters
    ----------
    folding : mapping of str to str
        The tables of ``macros/lookup/name_folding.sql``.

    Returns
    -------
    callable
        Of a name, or None; see ``macros/lookup/fold_name.sql`` for what it returns.
    """
    letters, partners = folding["ascii_exchange"][1:-1].rsplit("', '", 1)
    letters = letters.replace("''", "'")
    exchanged: dict[int, str] = {point: chr(point + 32) for point in range(ord("A"), ord("Z") + 1)}
    exchanged |= {ord(letter): partners[at : at + 1] for at, letter in enumerate(letters)}
    exchanged |= {ord(pair[0]): pair[1:] for pair in folding["pairs"].split("\t") if pair}
    left_out = re.compile(f"[{folding['left_out']}]+")
    unassigned = re.compile(f"[{folding['unassigned']}]")
    accents = re.compile(f"(^|[\x01-\x7f{folding['latin']}])[{folding['marks']}]+")

    def fold_name(name: str | None) -> str | None:
        if name is None:
            return None
        kept = left_out.sub("", name)
        if unassigned.search(name):  # not to be normalized: what it is composed of may change
            folded = accents.sub(r"\1", kept.translate(exchanged))
        else:
            small = unicodedata.normalize("NFC", kept).translate(exchanged)
            folded = unicodedata.normalize("NFC", accents.sub(r"\1", small))
        return re.sub("  +", " ", folded).strip(" ")

    return fold_name


def pieces_of(wkb: bytearray | None, max_vertices: int) -> list[dict[str, Any]] | None:
    """Cut a polygon as `cut_polygon` does; None stays None."""
    return None if wkb is None else cut_polygon(bytes(wkb), max_vertices)


def register(spark: Any) -> None:
    """Make `pieces_of` known to a session as ``cut_polygon``."""
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(cutting)  # type: ignore[no-untyped-call]
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    spark.udf.register("cut_polygon", pieces_of, "array<struct<piece_number: bigint, geom: binary>>")
