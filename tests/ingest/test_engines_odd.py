"""One bad geometry never fails its neighbours: it is repaired or left out and says why, in both engines."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import engines
from ingest.engines import SliceSource
from tests.fixtures import odd
from tests.fixtures.odd import CIRCLE, SQUARE, TRIANGLE
from tests.ingest.conftest import layers_of, read, slice_of
from tests.ingest.test_engines_agree import assert_same_rows

NAN, INF = math.nan, math.inf
SOURCE = SliceSource(
    path=Path("memory"),
    layer="ADM_0",
    file_no=0,
    source_file="memory",
    columns=(("name", "name"),),
    missing_text=(),
    crs=None,
    where=None,
    batch_bytes=1 << 30,
)
FACTS_OF_GEOMETRY = [name for name, _ in engines.FACTS if name not in ("is_valid", "invalid_reason")]
turned = [(y, x) for x, y in SQUARE]
raised = [(x, y, 9.0) for x, y in SQUARE]
measured = [(x, y, 9.0, 7.0) for x, y in SQUARE]
far_hole = odd.polygon([(1, 1), (2, 1), (2, 2), (1, 1)])

# What a geometry becomes: its area in square degrees, None if nothing is left; and why.
ODD: dict[str, tuple[bytes | None, float | None, str | None]] = {
    "plain": (odd.polygon(SQUARE), 32, None),
    "no geometry": (None, None, "null geometry"),
    "ring not closed": (odd.polygon(SQUARE[:-1]), 32, "ring not closed"),
    "hole not closed": (odd.polygon(SQUARE, [(1, 1), (2, 1), (2, 2)]), 31.5, "ring not closed"),
    "part not closed": (odd.collection(odd.polygon(SQUARE[:-1]), kind=odd.MULTIPOLYGON), 32, "ring not closed"),
    "not closed within a collection": (odd.collection(odd.polygon(SQUARE[:-1])), 32, "ring not closed"),
    "three points": (odd.polygon(TRIANGLE[:-1]), 8, "ring not closed"),
    "two points": (odd.polygon([(0, 0), (1, 1), (0, 0)]), None, "ring of too few points"),
    "one point": (odd.polygon([(0, 0)]), None, "ring of too few points"),
    "hole of two points": (odd.polygon(SQUARE, [(1, 1), (2, 2), (1, 1)]), 32, "ring of too few points"),
    "hole without points": (odd.polygon(SQUARE, []), 32, "ring of too few points"),
    "no rings": (odd.polygon(), None, "empty geometry"),
    "parts without rings": (
        odd.collection(odd.polygon(), odd.polygon(), kind=odd.MULTIPOLYGON),
        None,
        "empty geometry",
    ),
    "a part without rings": (
        odd.collection(odd.polygon(), odd.polygon(SQUARE), kind=odd.MULTIPOLYGON),
        32,
        None,
    ),
    "ring without points": (odd.polygon([]), None, "empty geometry"),
    "not a number": (odd.polygon([(0, 0), (4, 0), (NAN, 8), (0, 8), (0, 0)]), None, "coordinates that are not numbers"),
    "all not numbers": (odd.polygon([(NAN, NAN)] * 5), None, "coordinates that are not numbers"),
    "infinite": (odd.polygon([(0, 0), (4, 0), (4, INF), (0, 8), (0, 0)]), None, "coordinates that are not numbers"),
    "height not a number": (odd.polygon([(*p, NAN) for p in SQUARE], kind=1003), 32, None),
    "cut short": (odd.polygon(SQUARE)[:-20], None, "unreadable geometry"),
    "header only": (odd.polygon(SQUARE)[:5], None, "unreadable geometry"),
    "cut in its header": (odd.polygon(SQUARE)[:3], None, "unreadable geometry"),
    "nothing": (b"", None, "unreadable geometry"),
    "garbage": (b"\xff\xfehello, world", None, "unreadable geometry"),
    "no such type": (odd.header(99) + bytes(40), None, "unreadable geometry"),
    "many more points than bytes": (odd.header(3) + struct.pack("<II", 1, 2**31 - 1), None, "unreadable geometry"),
    "many more rings than bytes": (odd.header(3) + struct.pack("<I", 2**32 - 1), None, "unreadable geometry"),
    "bytes after its end": (odd.polygon(SQUARE) + b"more", 32, None),
    "collection without its member": (odd.header(7) + struct.pack("<I", 1), None, "unreadable geometry"),
    "many more members than bytes": (odd.header(7) + struct.pack("<I", 2**32 - 1), None, "unreadable geometry"),
    "curve polygon": (odd.collection(odd.line(CIRCLE, odd.CIRCULAR), kind=odd.CURVE_POLYGON), math.pi, "curved edges"),
    "full circle": (
        odd.collection(odd.line([(0, 0), (2, 0), (0, 0)], odd.CIRCULAR), kind=odd.CURVE_POLYGON),
        math.pi,
        "curved edges",
    ),
    "compound curve": (
        odd.collection(
            odd.collection(odd.line(CIRCLE[:3], odd.CIRCULAR), odd.line([(2, 0), (0, 0)]), kind=odd.COMPOUND),
            kind=odd.CURVE_POLYGON,
        ),
        math.pi / 2,
        "curved edges",
    ),
    "quarter of a disc": (
        odd.collection(
            odd.collection(
                odd.line([(0, 1), (0.5**0.5, 0.5**0.5), (1, 0)], odd.CIRCULAR),
                odd.line([(1, 0), (0, 0), (0, 1)]),
                kind=odd.COMPOUND,
            ),
            kind=odd.CURVE_POLYGON,
        ),
        math.pi / 4,
        "curved edges",
    ),
    "arc that is straight": (
        odd.collection(odd.line([(0, 0), (1, 0), (2, 0), (1, 1), (0, 0)], odd.CIRCULAR), kind=odd.CURVE_POLYGON),
        math.pi / 2,
        "curved edges",
    ),
    "surfaces": (
        odd.collection(
            odd.collection(odd.line(CIRCLE, odd.CIRCULAR), kind=odd.CURVE_POLYGON),
            odd.polygon([(9, 0), (10, 0), (10, 1), (9, 1), (9, 0)]),
            kind=odd.MULTISURFACE,
        ),
        math.pi + 1,
        "curved edges",
    ),
    "curves without a surface": (odd.line(CIRCLE, odd.CIRCULAR), None, "nothing polygonal"),
    "triangulated": (
        odd.collection(
            odd.polygon(TRIANGLE, kind=odd.FACET),
            odd.polygon([(4, 0), (4, 4), (0, 4), (4, 0)], kind=odd.FACET),
            kind=odd.TIN,
        ),
        16,
        "triangulated surface",
    ),
    "triangle": (odd.polygon(TRIANGLE, kind=odd.FACET), 8, "triangle"),
    "polyhedral": (
        odd.collection(odd.polygon(raised, kind=1003), kind=1000 + odd.POLYHEDRAL),
        32,
        "polyhedral surface",
    ),
    "mixed": (odd.collection(odd.line([(0, 0), (1, 1)]), odd.polygon(SQUARE)), 32, None),
    "overlapping in a collection": (odd.collection(odd.polygon(SQUARE), odd.polygon(SQUARE)), 32, None),
    "a point": (odd.header(1) + struct.pack("<2d", 1, 1), None, "nothing polygonal"),
    "a line in a multipolygon": (odd.collection(odd.line(SQUARE), kind=odd.MULTIPOLYGON), None, "nothing polygonal"),
    "heights": (odd.polygon(raised, kind=1003), 32, None),
    "measures": (odd.polygon(raised, kind=2003), 32, None),
    "heights and measures": (odd.polygon(measured, kind=3003), 32, None),
    "heights by PostGIS": (odd.polygon(raised, kind=0x80000003), 32, None),
    "measures by PostGIS": (odd.polygon(raised, kind=0x40000003), 32, None),
    "reference system within": (odd.header(0x20000003) + struct.pack("<i", 4326) + odd.polygon(SQUARE)[5:], 32, None),
    "big-endian": (odd.polygon(SQUARE, order=">"), 32, None),
    "big-endian part": (odd.collection(odd.polygon(SQUARE, order=">"), kind=odd.MULTIPOLYGON), 32, None),
    "crosses itself": (odd.polygon([(0, 0), (4, 4), (4, 0), (0, 4), (0, 0)]), 8, "Self-intersection[2 2]"),
    "not closed, and crosses itself": (
        odd.polygon([(0, 0), (4, 4), (4, 0), (0, 4)]),
        8,
        "ring not closed; Self-intersection[2 2]",
    ),
    "far east": (odd.polygon([(177, 0), (182, 0), (182, 1), (177, 1), (177, 0)]), 5, None),
    "beyond the pole": (odd.polygon([(0, 0), (1, 0), (0, 91), (0, 0)]), None, "off the globe: latitude 91"),
    "metres": (odd.polygon([(5e5, 4e6), (6e5, 4e6), (6e5, 5e6), (5e5, 4e6)]), None, "off the globe: longitude 600000"),
    "beyond by rounding": (odd.polygon([(170, 80), (180 + 1e-9, 80), (180, 90 + 1e-9), (170, 80)]), 50, None),
}


def rows_in_memory(engine: str, blobs: list[bytes | None], **settings: Any) -> pa.Table:
    """Let an engine read features that GDAL would give."""
    source = replace(SOURCE, **settings)
    table = pa.table(
        {
            "fid": pa.array(range(len(blobs)), pa.int64()),
            "name": pa.array([str(number) for number in range(len(blobs))]),
            "geom": pa.array(blobs, pa.binary()),
        }
    )

    @contextmanager
    def opened(_source: SliceSource) -> Iterator[tuple[dict[str, Any], pa.RecordBatchReader]]:
        yield {"geometry_name": "geom"}, pa.RecordBatchReader.from_batches(table.schema, table.to_batches(7))

    with mock.patch(f"ingest.engines.{'sedonadb' if engine == 'sedonadb' else 'geopandas'}.open_features", opened):
        return read(engine, source)


def both(blobs: list[bytes | None], **settings: Any) -> list[dict[str, Any]]:
    """Let both engines read features, compare their rows, and check what holds for every row."""
    ours, theirs = (rows_in_memory(engine, blobs, **settings) for engine in engines.ENGINES)
    assert_same_rows(ours, theirs, area_tolerance=1e-6)  # km²: the reference rounds every vertex, also of a long sliver
    rows: list[dict[str, Any]] = ours.to_pylist()
    assert [row["name"] for row in rows] == [str(number) for number in range(len(blobs))]
    for row in rows:
        shape = shapely.from_wkb(row["geom"])
        if shape is None:
            assert row["invalid_reason"]
            assert {row[name] for name in FACTS_OF_GEOMETRY} <= {None} | {row["area_km2_in_source"]}
            continue
        assert shape.geom_type == "MultiPolygon"
        assert row["geom"][:5] == b"\x01\x06\x00\x00\x00"
        assert (shape.bounds[0] >= -180, shape.bounds[2] <= 180) == (True, True)
        assert (shape.bounds[1] >= -90, shape.bounds[3] <= 90) == (True, True)
        assert shape.is_valid or not settings.get("is_validated", True)
    return rows


@pytest.mark.parametrize("is_validated", [True, False])
def test_odd_geometries_are_repaired_or_left_out_and_say_why(is_validated: bool) -> None:
    rows = both([blob for blob, _, _ in ODD.values()], is_validated=is_validated)
    for (kind, (blob, area, why)), row in zip(ODD.items(), rows, strict=True):
        if not is_validated and "Self-intersection" in str(why):
            continue
        shape = shapely.from_wkb(row["geom"])
        assert (shape and shape.area) == (area and pytest.approx(area, rel=1e-4)), kind
        assert row["invalid_reason"] == why, kind
        unknown = blob is None or (why is None and not is_validated)
        assert row["is_valid"] is (None if unknown else why is None), kind


def test_a_geopackage_of_odd_geometries_is_read_by_both_engines_as_it_is(tmp_path: Path) -> None:
    path = odd.write_gpkg(tmp_path / "gadm.gpkg", [blob for blob, _, _ in ODD.values()])
    source = slice_of(layers_of(path)[0], batch_rows=7)
    ours, theirs = (read(engine, source) for engine in engines.ENGINES)
    assert_same_rows(ours, theirs)
    expected = rows_in_memory("sedonadb", [blob or None for blob, _, _ in ODD.values()])
    assert ours["invalid_reason"].to_pylist() == expected["invalid_reason"].to_pylist()
    assert ours["geom"].to_pylist() == expected["geom"].to_pylist()


@pytest.mark.parametrize("kind", ["TIN", "TRIANGLE", "POLYHEDRALSURFACE", "CURVEPOLYGON", "MULTISURFACE", "GEOMETRY"])
def test_layers_of_curves_and_surfaces_are_layers_of_polygons(tmp_path: Path, kind: str) -> None:
    path = odd.write_gpkg(tmp_path / "gadm.gpkg", [ODD["triangulated"][0], ODD["curve polygon"][0]], kind=kind)
    rows = read("sedonadb", slice_of(layers_of(path)[0]))
    assert rows["invalid_reason"].to_pylist() == ["triangulated surface", "curved edges"]


POLAR = [odd.polygon([(0, 80), (9, 80), (9, 90 + 1e-9), (0, 80)])]


def test_the_facts_of_a_repaired_geometry_say_what_the_repair_changed() -> None:
    half, closed, plain, lost = both(
        [ODD[kind][0] for kind in ("crosses itself", "ring not closed", "plain", "beyond the pole")]
    )
    assert half["area_km2_in_source"] < 1e-3 * half["area_km2"]  # the two loops turn in opposite directions
    assert closed["area_km2_in_source"] == pytest.approx(plain["area_km2"])
    assert plain["area_km2_in_source"] == plain["area_km2"]
    assert (lost["area_km2_in_source"], lost["area_km2"]) == (None, None)


def test_odd_geometries_of_a_projected_layer_are_repaired_as_well() -> None:
    rows = both(
        [
            odd.polygon([(0, 0), (1e5, 0), (1e5, 1e5), (0, 1e5)]),
            odd.polygon([(0, 0), (1e5, 0), (NAN, 1e5), (0, 1e5), (0, 0)]),
            odd.polygon([(0, 0), (1e9, 0), (1e9, 1e9), (0, 0)]),
            odd.polygon([(0, 0), (1e5, 1e5), (1e5, 0), (0, 1e5), (0, 0)]),
            odd.polygon([(4e5, 3e5), (5e5, 3e5), (5e5, 4e5), (4e5, 3e5)]),
            odd.polygon(SQUARE)[:30],
            None,
        ],
        crs="EPSG:27700",
    )
    assert [row["invalid_reason"] and row["invalid_reason"].split("[")[0] for row in rows] == [
        "ring not closed",
        "coordinates that are not numbers",
        "outside of its projection",
        "Self-intersection",
        None,
        "unreadable geometry",
        "null geometry",
    ]


@pytest.mark.parametrize("crs", [None, "EPSG:4269"])
@pytest.mark.parametrize("south", [80, 90.5])
def test_a_latitude_beyond_the_pole_is_off_the_globe_in_whatever_degrees(crs: str | None, south: float) -> None:
    beyond, rounded = both([odd.polygon([(0, south), (9, south), (9, 91), (0, south)]), *POLAR], crs=crs)
    assert (beyond["geom"], beyond["invalid_reason"]) == (None, "off the globe: latitude 91")
    assert shapely.from_wkb(rounded["geom"]).bounds == (0, 80, 9, 90)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_geojson_with_rings_that_are_not_closed_is_read(tmp_path: Path, engine: str) -> None:
    rings = {1: [[[1, 0], [2, 0], [2, 1], [1, 1]]], 2: [[[2, 0], [3, 0], [3, 1], [2, 0]]], 3: [[[3, 0], [4, 0]]], 4: []}
    features = [
        {
            "type": "Feature",
            "properties": {"GID_0": "QAA", "COUNTRY": f"A{number}"},
            "geometry": {"type": "Polygon", "coordinates": ring},
        }
        for number, ring in rings.items()
    ]
    path = tmp_path / "gadm41_QAA_0.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    rows = read(engine, slice_of(layers_of(path)[0])).to_pylist()
    assert [row["country"] for row in rows] == ["A1", "A2", "A3", "A4"]
    assert [row["geom"] is None for row in rows] == [False, False, True, True]
    assert rows[0]["invalid_reason"] in (None, "ring not closed")
    assert shapely.from_wkb(rows[0]["geom"]).area == 1


coordinate = st.one_of(
    st.floats(-200, 400),
    st.sampled_from([0.0, 1.0, 2.0, 90.0, -90.0, 180.0, -180.0, 179.0, -179.0, 181.0, 360.0]),
    st.floats(width=32),
)
ring = st.lists(st.tuples(coordinate, st.one_of(st.floats(-91, 91), coordinate)), max_size=7)


@st.composite
def polygons(draw: st.DrawFn) -> bytes:
    """Draw a polygon in any dimensions and byte order, closed or not."""
    kind, order = draw(st.sampled_from([3, 1003, 2003, 3003, 0x80000003, 17])), draw(st.sampled_from("<>"))
    extra = {1003: 1, 2003: 1, 3003: 2, 0x80000003: 1}.get(kind, 0)
    rings = []
    for drawn in draw(st.lists(ring, max_size=3)):
        closed = [*drawn, *drawn[:1]] if draw(st.integers(0, 4)) else drawn
        rings.append([(*point, *[7.0] * extra) for point in closed])
    return odd.polygon(*rings, kind=kind, order=order)


geometries = st.recursive(
    st.one_of(polygons(), ring.map(lambda drawn: odd.line(drawn, 2)), ring.map(lambda drawn: odd.line(drawn, 8))),
    lambda parts: st.builds(
        lambda kind, order, members: odd.collection(*members, kind=kind, order=order),
        st.sampled_from([6, 7, 10, 12, 15, 16, 1006]),
        st.sampled_from("<>"),
        st.lists(parts, max_size=3),
    ),
    max_leaves=6,
)
blobs = st.one_of(
    st.none(),
    st.binary(max_size=60),
    geometries,
    st.tuples(geometries, st.floats(0, 1)).map(lambda cut: cut[0][: int(cut[1] * len(cut[0]))]),
)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(blobs, min_size=1, max_size=12), st.sampled_from([None, "EPSG:3857", "EPSG:4269"]), st.booleans())
def test_both_engines_make_the_same_of_any_geometry(
    drawn: list[bytes | None], crs: str | None, is_validated: bool
) -> None:
    plain = odd.polygon(SQUARE)
    rows = both([*drawn, plain], crs=crs, is_validated=is_validated)
    assert rows[-1]["geom"] is not None
    assert np.isfinite(rows[-1]["area_km2"])
