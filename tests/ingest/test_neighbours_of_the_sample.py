"""The neighbours of real units are those that another library finds, with the lengths of what both have in common."""

from __future__ import annotations

from functools import cache

import geopandas
import pyarrow as pa
import pytest
import shapely
from libpysal.weights import Rook
from pyproj import Geod

from admin_boundaries.coverage.neighbours import neighbours
from tests.conftest import ROOT

SAMPLE = f"/vsizip/{ROOT}/sample/boundaries-levels.zip"
LEVELS = (1, 2, 3)
WGS84 = Geod(ellps="WGS84")


@cache
def units(level: int) -> geopandas.GeoDataFrame:
    """Return the units of a level of the sample."""
    return geopandas.read_file(SAMPLE, layer=f"ADM_{level}").set_index(f"GID_{level}", drop=False)


@cache
def found(level: int) -> dict[tuple[str, str], float]:
    """Return the lengths of their borders, by the pairs of their keys."""
    frame = units(level)
    batch = pa.record_batch({"gid": pa.array(frame.index, pa.string()), "geom": pa.array(frame.geometry.to_wkb())})
    batches = [batch.slice(start, 300) for start in range(0, len(batch), 300)]
    rows = neighbours([(level, batches)]).read_all().to_pylist()
    return {(row["gid"], row["neighbour_gid"]): row["border_km"] for row in rows}


@pytest.mark.parametrize("level", LEVELS)
def test_the_neighbours_of_the_sample_are_those_that_libpysal_finds(level: int) -> None:
    frame = units(level)
    weights = Rook.from_dataframe(frame, use_index=True, silence_warnings=True)
    expected = {(gid, other) for gid, others in weights.neighbors.items() for other in others}
    assert len(expected) > 900
    assert set(found(level)) == expected


@pytest.mark.parametrize("level", LEVELS)
def test_the_length_of_a_border_is_that_of_what_two_units_have_in_common(level: int) -> None:
    shapes = units(level).geometry
    for (gid, other), border_km in sorted(found(level).items())[:: len(shapes) // 20]:
        common = shapely.intersection(shapes[gid], shapes[other])
        lines = [part for part in shapely.get_parts(common) if part.length > 0]
        assert border_km == pytest.approx(sum(WGS84.geometry_length(line) for line in lines) / 1000, rel=1e-6)
