"""GeoParquet is read as what it is, in batches that fit into memory; what would lie or overflow is refused."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pyproj
import pytest
import shapely

from ingest import catalog, engines
from ingest.errors import FormatUnknown, IngestError, SchemaDrift
from ingest.layers import discover, geoparquet
from ingest.layers.plan import plan
from tests.fixtures import boundaries, overture
from tests.ingest.conftest import Pipeline, layers_of, read, slice_of
from tests.ingest.test_engines_agree import assert_same_rows
from tests.ingest.test_formats import parquet_of

SQUARE = shapely.box(0, 0, 1, 1)


def country(folder: Path, *, geometry: bytes | None = None, rows: int = 1, **column: Any) -> Path:
    """Write the only unit of level 0, several times over, with this metadata on its geometry."""
    wkb = shapely.to_wkb(SQUARE) if geometry is None else geometry
    table = pa.table({"GID_0": ["AAA"] * rows, "COUNTRY": ["Land"] * rows, "geometry": [wkb] * rows})
    path = folder / "gadm41_AAA_0.parquet"
    pq.write_table(table.replace_schema_metadata(overture.geo(**column)), path, row_group_size=10)
    return path


def refused(path: Path, error: type[IngestError], message: str) -> None:
    """Assert that nothing is read of a file."""
    gadm = catalog.get("gadm")
    with pytest.raises(error, match=message):
        _ = [discover.features(layer) for layer in discover.layers(path, gadm, gadm.release())]


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("suffix", [".parquet", ".geoparquet"])
def test_a_geoparquet_gives_the_same_rows_as_a_geopackage(tmp_path: Path, engine: str, suffix: str) -> None:
    made = boundaries.levels({"AAA": 1}, parts=5)
    gpkg = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made)
    written = parquet_of(tmp_path, made[1], row_group_size=7)
    (layer,) = layers_of(written.rename(written.with_suffix(suffix))).values()
    assert (layer.row_count, layer.is_divisible, len(discover.features(layer)[0])) == (25, True, 25)
    assert discover.features(layer)[1].min() > 16 * 5
    columns = [column.name for column in layer.table.columns] + ["geom", "area_km2", "is_valid"]
    rows = [read(engine, slice_of(each)).select(columns).sort_by("gid_1") for each in (layer, layers_of(gpkg)[1])]
    assert_same_rows(rows[0], rows[1])


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("row_group_size", [1, 4, 100])
@pytest.mark.parametrize("batch_bytes", [1, 1500, 1 << 30])
def test_ranges_of_rows_are_together_all_rows(
    tmp_path: Path, engine: str, row_group_size: int, batch_bytes: int
) -> None:
    made = boundaries.levels({"AAA": 1}, parts=4)
    (layer,) = layers_of(parquet_of(tmp_path, made[1], row_group_size=row_group_size)).values()
    whole = read(engine, slice_of(layer))
    parts = [
        read(engine, replace(slice_of(layer, where=layer.where(first, first + 5)), batch_bytes=batch_bytes))
        for first in range(0, layer.row_count, 6)
    ]
    assert whole["source_fid"].to_pylist() == list(range(layer.row_count))
    together = pa.concat_tables(parts)
    exact = [name for name in whole.column_names if not name.startswith("area_km2")]
    assert together.select(exact).equals(whole.select(exact))


def test_slices_are_runs_of_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.layers.plan.slice_bytes", lambda _total: 1000)
    (layer,) = layers_of(country(tmp_path, rows=95)).values()
    assert layer.starts == (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)
    ranges = plan([discover.features(layer)], [layer.is_divisible], [layer.starts])
    assert [(each.fid_from, each.fid_to) for each in ranges] == [(0, 19), (20, 39), (40, 59), (60, 79), (80, 94)]
    assert sum(each.row_count for each in ranges) == 95


def test_a_batch_is_no_larger_than_it_may_be(tmp_path: Path) -> None:
    rings = [shapely.Point(0, 0).buffer(1, quad_segs=points) for points in (1, 1, 200, 1, 500, 500, *[1] * 50)]
    table = pa.table({"GID_0": ["AAA"] * len(rings), "COUNTRY": ["x"] * len(rings), "geometry": shapely.to_wkb(rings)})
    path = tmp_path / "gadm41_AAA_0.parquet"
    pq.write_table(table.replace_schema_metadata(overture.geo()), path)
    described = geoparquet.describe(path)
    found = geoparquet.batches(path, described, ["GID_0"], None, heaviest=32_000, most_bytes=20_000, most_rows=20)
    batches = list(found)
    sizes = [[len(wkb) for wkb in batch[geoparquet.GEOMETRY].to_pylist()] for batch in batches]
    assert [fid for batch in batches for fid in batch[geoparquet.FID].to_pylist()] == list(range(len(rings)))
    assert all(len(each) == 1 or (sum(each) <= 20_000 and len(each) <= 20) for each in sizes)
    assert len(sizes) > 3


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_values_that_are_not_text_are_read_as_they_are_from_any_format(tmp_path: Path, engine: str) -> None:
    columns = {
        "GID_0": pa.array(["AAA", "BBB"]).dictionary_encode(),
        "COUNTRY": pa.array([decimal.Decimal("1.50"), None]),
        "geometry": pa.array(shapely.to_wkb([SQUARE, SQUARE]), pa.large_binary()),
    }
    path = tmp_path / "gadm41_AAA_0.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata(overture.geo()), path)
    rows = read(engine, slice_of(layers_of(path)[0])).to_pylist()
    assert [(row["gid_0"], row["country"]) for row in rows] == [("AAA", "1.50"), ("BBB", None)]
    for value, text in [
        (True, "true"),
        (7.0, "7"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (["a", "b"], '["a", "b"]'),
    ]:
        columns["COUNTRY"] = pa.array([value, None])
        pq.write_table(pa.table(columns).replace_schema_metadata(overture.geo()), path)
        assert read(engine, slice_of(layers_of(path)[0]))["country"].to_pylist() == [text, None]


def test_a_nested_column_is_not_a_value(tmp_path: Path) -> None:
    path = tmp_path / "gadm41_AAA_0.parquet"
    table = pa.table({"GID_0": [{"a": "AAA"}], "COUNTRY": ["x"], "geometry": [shapely.to_wkb(SQUARE)]})
    pq.write_table(table.replace_schema_metadata(overture.geo()), path)
    refused(path, SchemaDrift, "has no column GID_0")


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_coordinates_in_another_system_become_degrees(tmp_path: Path, engine: str) -> None:
    made = boundaries.levels({"AAA": 0})[0]
    (layer,) = layers_of(parquet_of(tmp_path, made.to_crs("EPSG:3857"))).values()
    assert layer.crs is not None
    (row,) = read(engine, slice_of(layer)).to_pylist()
    wanted = made.geometry.iloc[0]
    assert shapely.hausdorff_distance(shapely.from_wkb(row["geom"]), wanted) < 1e-8


@pytest.mark.parametrize(
    "crs",
    [
        {},
        {"crs": None},
        {"crs": pyproj.CRS("OGC:CRS84").to_json_dict()},
        {"crs": pyproj.CRS("EPSG:4326").to_json_dict()},
        {"crs": pyproj.CRS("EPSG:4326").to_wkt()},
        {"crs": {"type": "nonsense"}},
        {"crs": "https://host/x", "bbox": [0, 0, 1, 1]},
        {"bbox": [0, 0, 0, 1, 1, 1]},
        {"bbox": "nonsense"},
        {"orientation": "counterclockwise", "epoch": 2020.5, "edges": "planar"},
    ],
    ids=str,
)
def test_degrees_are_degrees_however_they_are_stated(tmp_path: Path, crs: dict[str, Any]) -> None:
    (layer,) = layers_of(country(tmp_path, **crs)).values()
    assert (layer.crs, layer.row_count) == (None, 1)


def test_what_leaves_its_system_out_is_in_degrees_without_a_look_at_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geoparquet, "boxes", lambda *_: pytest.fail("rows were read"))
    assert layers_of(country(tmp_path))[0].crs is None


def test_coordinates_of_an_unknown_system_are_refused_unless_a_person_names_it(tmp_path: Path) -> None:
    far = shapely.to_wkb(shapely.box(500_000, 0, 600_000, 100_000))
    path = country(tmp_path, geometry=far, crs=None)
    refused(path, SchemaDrift, "states no reference system, but its extent does not fit on the globe")
    gadm = catalog.get("gadm")
    (layer,) = discover.layers(path, gadm, gadm.release(), crs="EPSG:32631")
    assert layer.crs is not None


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        ({"edges": "spherical"}, SchemaDrift, "edges of gadm41_AAA_0.parquet are spherical"),
        ({"encoding": "multipolygon"}, SchemaDrift, "are encoded as multipolygon, and WKB is read"),
        ({"encoding": None}, SchemaDrift, "are encoded as None, and WKB is read"),
        ({"geometry_types": ["Point"]}, SchemaDrift, "holds Point, not polygons"),
        ({"geometry_types": ["LineString Z"]}, SchemaDrift, "holds LineString Z, not polygons"),
    ],
)
def test_geometries_that_would_be_read_wrongly_are_refused(
    tmp_path: Path, column: dict[str, Any], error: type[IngestError], message: str
) -> None:
    refused(country(tmp_path, **column), error, message)


@pytest.mark.parametrize(
    ("geo", "message"),
    [
        (None, "is Parquet, but not GeoParquet"),
        (b"{", "has damaged metadata"),
        (b"[]", "has damaged metadata"),
        (b"\xff", "has damaged metadata"),
        (b'{"primary_column": "geometry", "columns": {}}', "has damaged metadata"),
        (b'{"primary_column": "geometry", "columns": {"geometry": []}}', "has damaged metadata"),
        (b'{"primary_column": ["x"], "columns": {"geometry": {}}}', "has damaged metadata"),
        (b'{"primary_column": "nothing", "columns": {"nothing": {"encoding": "WKB"}}}', "of another column"),
        (b"[" * 100_000, "has damaged metadata"),
    ],
)
def test_metadata_that_are_damaged_or_missing_are_told(tmp_path: Path, geo: bytes | None, message: str) -> None:
    path = country(tmp_path)
    table = pq.read_table(path).replace_schema_metadata({} if geo is None else {b"geo": geo})
    pq.write_table(table, path)
    refused(path, FormatUnknown, message)


def test_a_column_of_geometries_that_holds_text_is_refused(tmp_path: Path) -> None:
    path = country(tmp_path)
    table = pq.read_table(path)
    text = table.set_column(2, "geometry", pa.array(["POLYGON EMPTY"]))
    pq.write_table(text.replace_schema_metadata(table.schema.metadata), path)
    refused(path, SchemaDrift, "WKB is read")


def test_a_file_that_is_cut_off_is_never_read_in_part(tmp_path: Path) -> None:
    path = country(tmp_path, rows=50)
    whole = path.read_bytes()
    for size in (4, 7, 8, 11, 12, 100, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, FormatUnknown, "gadm41_AAA_0.parquet")
    for gone in (1, 20, len(whole) // 2):
        path.write_bytes(whole[:4] + whole[4 + gone :])
        refused(path, FormatUnknown, "gadm41_AAA_0.parquet")


def test_a_footer_of_a_wrong_length_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = country(tmp_path)
    whole = path.read_bytes()
    for length in (len(whole), 1 << 31, (1 << 32) - 1):
        path.write_bytes(whole[:-8] + struct.pack("<I", length) + whole[-4:])
        refused(path, FormatUnknown, f"its footer would be {length:,} bytes")
    for length in (0, 3, len(whole) - 12):
        path.write_bytes(whole[:-8] + struct.pack("<I", length) + whole[-4:])
        refused(path, FormatUnknown, "gadm41_AAA_0.parquet")


def count_of(rows: int) -> bytes:
    """Return a number of rows as the footer has it: field header, and the number as a zigzag varint."""
    return b"\x16" + bytes([2 * rows])


@pytest.mark.parametrize("which", ["all", "the first", "the last"])
def test_a_wrong_number_of_rows_is_told(tmp_path: Path, which: str) -> None:
    path = tmp_path / "gadm41_AAA_0.parquet"
    table = pa.table({"GID_0": ["AAA"] * 41, "COUNTRY": ["x"] * 41, "geometry": [shapely.to_wkb(SQUARE)] * 41})
    pq.write_table(table.replace_schema_metadata(overture.geo()), path, write_statistics=False)
    whole = path.read_bytes()
    begin = len(whole) - 8 - struct.unpack("<I", whole[-8:-4])[0]
    head, footer = whole[:begin], whole[begin:]
    assert footer.count(count_of(41)) >= 2
    wrong = {
        "all": footer.replace(count_of(41), count_of(42)),
        "the first": footer.replace(count_of(41), count_of(42), 1),
        "the last": count_of(42).join(footer.rsplit(count_of(41), 1)),
    }
    path.write_bytes(head + wrong[which])
    refused(path, FormatUnknown, "damaged|cannot be read|states 42 rows")


def test_a_row_group_that_grows_beyond_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gadm41_AAA_0.parquet"
    table = pa.table({"GID_0": ["AAA"], "COUNTRY": ["\0" * (64 << 20)], "geometry": [shapely.to_wkb(SQUARE)]})
    pq.write_table(table.replace_schema_metadata(overture.geo()), path, compression="zstd")
    assert path.stat().st_size < 1 << 17
    refused(path, FormatUnknown, r"has [\d,]+ bytes, and a row group of 67,\d+,\d+ when it is decompressed")
    monkeypatch.setattr(geoparquet, "MAX_GROUP_BYTES", 10)
    refused(country(tmp_path), FormatUnknown, "a row group of")


def test_a_page_that_stands_for_many_large_geometries_is_read_a_few_at_a_time(tmp_path: Path) -> None:
    large = shapely.to_wkb(shapely.Point(0, 0).buffer(1, quad_segs=50_000))
    path = country(tmp_path, geometry=large, rows=300)
    assert path.stat().st_size < 60 * len(large)
    described = geoparquet.describe(path)
    heaviest = len(large)
    batches = geoparquet.batches(
        path, described, ["GID_0"], None, heaviest=heaviest, most_bytes=3 * heaviest, most_rows=8192
    )
    sizes = [batch[geoparquet.GEOMETRY].nbytes for batch in batches]
    assert max(sizes) < 4 * heaviest
    assert sum(sizes) > 300 * heaviest


class Kms(pe.KmsClient):  # type: ignore[misc]
    """A keeper of keys that keeps nothing from anyone."""

    def __init__(self, _configuration: pe.KmsConnectionConfig) -> None:
        pe.KmsClient.__init__(self)

    def wrap_key(self, key: bytes, _name: str) -> bytes:
        """Return a key as text."""
        return base64.b64encode(key)

    def unwrap_key(self, wrapped: bytes, _name: str) -> bytes:
        """Return the key of a text."""
        return base64.b64decode(wrapped)


@pytest.mark.parametrize("is_plain_footer", [False, True])
def test_an_encrypted_file_is_refused(tmp_path: Path, is_plain_footer: bool) -> None:
    path = country(tmp_path)
    table = pq.read_table(path)
    settings = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["GID_0", "geometry"]}, plaintext_footer=is_plain_footer
    )
    keys = pe.CryptoFactory(Kms).file_encryption_properties(pe.KmsConnectionConfig(), settings)
    with pq.ParquetWriter(path, table.schema, encryption_properties=keys) as writer:
        writer.write_table(table)
    refused(path, FormatUnknown, "is encrypted|cannot be read")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"<html>404</html>", b"PK\x03\x04", b"PAR1" * 50])
def test_something_else_under_its_name_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gadm41_AAA_0.parquet"
    path.write_bytes(content)
    refused(path, FormatUnknown, "gadm41_AAA_0.parquet")


def test_a_damaged_file_is_told_or_gives_its_rows(tmp_path: Path) -> None:
    path = country(tmp_path, rows=30)
    whole = path.read_bytes()
    generator = np.random.default_rng(17)
    gadm, told = catalog.get("gadm"), 0
    for at in generator.integers(4, len(whole) - 8, 600):
        damaged = bytearray(whole)
        damaged[at] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        try:
            for layer in discover.layers(path, gadm, gadm.release()):
                ids, _ = discover.features(layer)
                with engines.open_features(slice_of(layer)) as (_, batches):
                    assert sum(map(len, batches)) == len(ids)
        except IngestError:
            told += 1
    assert told > 100


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_value_that_is_not_text_is_told_with_its_row(pipeline: Pipeline, tmp_path: Path, engine: str) -> None:
    path = tmp_path / "gadm41_AAA_0.parquet"
    names = pa.array([b"ok", b"\xff\xfe"]).view(pa.string())
    wkb = shapely.to_wkb([SQUARE, shapely.box(1, 0, 2, 1)])
    table = pa.table({"GID_0": ["AAA", "AAB"], "COUNTRY": names, "geometry": wkb})
    pq.write_table(table.replace_schema_metadata(overture.geo()), path, use_dictionary=False)
    state, error = pipeline.state(pipeline.run(path, engine=engine))
    assert state == "failed"
    assert "feature 1: COUNTRY is" in str(error)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_point_where_units_are_areas_has_no_place(tmp_path: Path, engine: str) -> None:
    path = country(tmp_path, geometry=shapely.to_wkb(shapely.Point(1, 2)))
    (row,) = read(engine, slice_of(layers_of(path)[0])).to_pylist()
    assert (row["point_lon"], row["is_valid"], row["invalid_reason"]) == (None, False, "nothing polygonal")


POINTS: list[tuple[bytes | None, tuple[float, float] | None]] = [
    (shapely.to_wkb(shapely.Point(1, 2)), (1, 2)),
    (shapely.to_wkb(shapely.Point(-180, 90)), (-180, 90)),
    (shapely.to_wkb(shapely.Point(181, 0)), None),
    (shapely.to_wkb(shapely.Point(float("nan"), 0)), None),
    (shapely.to_wkb(shapely.Point()), None),
    (struct.pack("<BIdd", 1, 2, 1, 2), None),
    (b"\1\1\0\0\0", None),
    (None, None),
]


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_only_points_on_the_globe_are_kept(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "gadm41_AAA_0.parquet"
    values = [*(value for value, _ in POINTS), shapely.to_wkb(SQUARE)]
    count = len(values)
    table = pa.table({"GID_0": ["AAA"] * count, "COUNTRY": ["x"] * count, "geometry": pa.array(values, pa.binary())})
    pq.write_table(table.replace_schema_metadata(overture.geo(geometry_types=[])), path)
    rows = read(engine, replace(slice_of(layers_of(path)[0]), keeps_points=True)).to_pylist()
    for row, (value, wanted) in zip(rows[:-1], POINTS, strict=True):
        assert (row["point_lon"], row["point_lat"]) == (wanted or (None, None))
        assert row["is_valid"] is (None if value is None else wanted is not None)
        assert row["geom"] is row["vertex_count"] is row["area_km2"] is row["geom_hash"] is None
    assert rows[-1]["geom"] is not None


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_point_in_another_system_becomes_one_in_degrees(tmp_path: Path, engine: str) -> None:
    path = country(tmp_path, geometry=shapely.to_wkb(shapely.Point(111_319.490793, 0)))
    source = replace(slice_of(layers_of(path)[0]), keeps_points=True, crs="EPSG:3857")
    (row,) = read(engine, source).to_pylist()
    assert (row["point_lon"], row["point_lat"]) == pytest.approx((1, 0), abs=1e-8)
    assert row["is_valid"] is True


def test_what_a_file_says_of_itself_is_not_a_program(tmp_path: Path) -> None:
    path = country(tmp_path)
    table = pq.read_table(path)
    said = {**table.schema.metadata, b"pandas": json.dumps({"index_columns": ["__import__('os')"]}).encode()}
    pq.write_table(table.replace_schema_metadata(said), path)
    assert layers_of(path)[0].row_count == 1
