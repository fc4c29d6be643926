"""The mart `timezone_overlaps`: zones that have ground in common, since two clocks are in use there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from admin_boundaries.areas import KM2, Areas
from admin_boundaries.changes.overlay import common_ground
from admin_boundaries.coverage.arrays import Positions, Texts
from admin_boundaries.python_models import Relation

DECIMALS = 6  # of a share
LEAST_KM2 = 1e-3  # less than a thousand square metres is a border that was drawn twice
SCHEMA = pa.schema(
    [
        pa.field("tzid", pa.string()),
        pa.field("other_tzid", pa.string()),
        pa.field("area_km2", pa.float64()),
        pa.field("area_share", pa.float64()),
    ]
)


def timezone_overlaps(zones: Relation, folder: Path | None = None) -> pa.RecordBatchReader:
    """Lay the zones over each other.

    Parameters
    ----------
    zones : Relation
        ``tzid`` and ``geom``, in degrees.
    folder : Path, optional
        Of a file on disk; by default that of the system.

    Returns
    -------
    RecordBatchReader
        One row per zone and zone with which it has ground in common, each pair both ways, of the columns of `SCHEMA`.
    """
    tzids: Texts = np.array(sorted(zones.select("tzid").batches().read_all()["tzid"].to_pylist()), dtype=object)
    position = {tzid: at for at, tzid in enumerate(tzids)}

    def geometries() -> Iterator[tuple[Positions, pa.Array]]:
        for batch in zones.select("tzid", "geom").batches():
            yield np.array([position[tzid] for tzid in batch["tzid"].to_pylist()], np.int64), batch["geom"]

    with Areas(len(tzids), folder) as areas:
        areas.fill(geometries())
        ground, _ = common_ground(areas, areas, lambda one, two: one < two)
        ground = ground.where(ground.areas_km2 >= LEAST_KM2)
        one, two = np.append(ground.before, ground.now), np.append(ground.now, ground.before)
        areas_km2 = np.tile(ground.areas_km2, 2)
        shares = np.minimum(areas_km2 / (areas.sizes[one] * KM2), 1).round(DECIMALS)
    order = np.lexsort((two, one))
    columns = tzids[one[order]], tzids[two[order]], areas_km2[order], shares[order]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, SCHEMA).to_reader()
