"""The faults of real units are those that an overlay of all of them finds."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import duckdb
import geopandas
import numpy as np
import pyarrow as pa
import pytest
import shapely
from pyproj import Geod

from admin_boundaries.coverage.faults import faults
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.python_models import DuckDBRelation
from tests.conftest import ROOT

SAMPLE = f"/vsizip/{ROOT}/sample/boundaries-levels.zip"
LEVELS = range(5)
WGS84 = Geod(ellps="WGS84")
PARENTS = {"USA.22.10_1": "USA.22_1", "DZA.60.2.1_1": "DZA.60.2_1"}  # the file says NA


@cache
def units(level: int) -> geopandas.GeoDataFrame:
    """Return the units of a level of the sample, with ``gid`` and ``parent_gid``."""
    frame = geopandas.read_file(SAMPLE, layer=f"ADM_{level}").rename(columns={f"GID_{level}": "gid"})
    parents = frame[f"GID_{level - 1}"] if level > 1 else frame["GID_0"] if level else None
    frame["parent_gid"] = (
        None if parents is None else [PARENTS.get(*pair) for pair in zip(frame.gid, parents, strict=True)]
    )
    return frame.set_index("gid", drop=False)


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """Return their faults."""
    with duckdb.connect() as session:
        load_spatial(session)
        relations = []
        child_counts = Counter(parent for level in LEVELS for parent in units(level).parent_gid)
        for level in LEVELS:
            frame = units(level)
            columns = {
                "gid": pa.array(frame.gid, pa.string()),
                "parent_gid": pa.array(frame.parent_gid, pa.string()),
                "gid_0": pa.array(frame.gid if level == 0 else frame.GID_0, pa.string()),
                "child_count": pa.array([child_counts[gid] for gid in frame.gid], pa.int64()),
                "wkb": pa.array(frame.geometry.to_wkb(), pa.binary()),
            }
            bounds = zip(("min_lon", "min_lat", "max_lon", "max_lat"), frame.bounds.to_numpy().T, strict=True)
            session.register("units", pa.table({**columns, **dict(bounds)}))
            geom = "st_geomfromwkb(wkb) as geom"
            session.execute(f"create table level_{level} as select * exclude (wkb), {geom} from units")
            relations.append(DuckDBRelation(session, f"level_{level}"))
        listed: list[dict[str, Any]] = faults(relations).read_all().to_pylist()
        return listed


def test_the_faults_of_the_sample_are_gaps_and_slivers(found: list[dict[str, Any]]) -> None:
    counts = Counter((fault["fault_kind"], fault["admin_level"]) for fault in found)
    assert counts == {
        ("gap", 0): 1,
        ("gap", 2): 6,
        ("gap", 3): 2,
        ("sliver", 0): 9,
        ("sliver", 3): 2,
        ("sliver", 4): 1,
    }


@pytest.mark.parametrize("level", LEVELS[1:])
def test_gaps_are_what_is_left_of_a_parent_without_its_children(level: int, found: list[dict[str, Any]]) -> None:
    left = []
    for parent, children in units(level).groupby("parent_gid"):
        shape = units(level - 1).geometry[parent]
        covered = shapely.union_all(children.geometry.to_numpy())
        assert shapely.area(shapely.difference(covered, shape)) < 1e-12
        assert covered.area == pytest.approx(shapely.area(children.geometry.to_numpy()).sum(), abs=1e-12)
        parts = shapely.get_parts(shapely.difference(shape, covered))
        wide = parts[2 * shapely.area(parts) > 1e-7 * shapely.length(parts)]
        left += [(parent, abs(WGS84.geometry_area_perimeter(part)[0]) / 1e6) for part in wide]
    gaps = [
        (fault["parent_gid"], fault["area_km2"])
        for fault in found
        if fault["fault_kind"] == "gap" and fault["admin_level"] == level
    ]
    assert [parent for parent, _area in sorted(gaps)] == [parent for parent, _area in sorted(left)]
    assert [area for _parent, area in sorted(gaps)] == pytest.approx([area for _parent, area in sorted(left)])


def test_the_gap_between_counties_of_virginia_is_a_hole_of_the_country(found: list[dict[str, Any]]) -> None:
    (gap,) = (fault for fault in found if (fault["fault_kind"], fault["admin_level"]) == ("gap", 0))
    assert (gap["gid"], gap["other_gid"]) == ("USA", None)
    assert gap["width_m"] == pytest.approx(0.06, abs=0.01)
    place = shapely.box(gap["lon"] - 0.02, gap["lat"] - 0.02, gap["lon"] + 0.02, gap["lat"] + 0.02)
    counties = units(2)
    near = counties[counties.intersects(place)]
    assert set(near.parent_gid) == {"USA.47_1"}
    assert not near.geometry.covers(shapely.Point(gap["lon"], gap["lat"])).any()


def test_slivers_are_the_long_and_narrow_parts_that_the_level_above_does_not_have(found: list[dict[str, Any]]) -> None:
    expected, above = [], set()
    for level in LEVELS:
        here = set()
        parts = units(level).geometry.explode()
        for gid, part in zip(parts.index, parts, strict=True):
            area, outline = map(abs, WGS84.geometry_area_perimeter(part))
            width = 2 * area / outline
            if width < 20 and outline / 2 >= 20 * width:
                key = shapely.normalize(part).wkb
                here.add(key)
                expected += [(level, gid, area / 1e6)] if key not in above else []
        above = here
    slivers = [
        (fault["admin_level"], fault["gid"], fault["area_km2"]) for fault in found if fault["fault_kind"] == "sliver"
    ]
    assert len(slivers) == 12
    assert np.array(sorted(expected))[:, :2].tolist() == np.array(sorted(slivers))[:, :2].tolist()
    assert [row[2] for row in sorted(slivers)] == pytest.approx([row[2] for row in sorted(expected)])
