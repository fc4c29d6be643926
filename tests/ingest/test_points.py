"""Points of a file in, the same file with answers out; what cannot be used is said, and nothing is written then."""

from __future__ import annotations

import csv
import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from admin_boundaries import points
from admin_boundaries.cutting import cut_polygon
from admin_boundaries.edition import Edition
from admin_boundaries.locate import COLUMNS, Row
from admin_boundaries.locate.coordinates import degrees
from ingest.errors import IngestError, MartsReplaced, SchemaDrift, SourceDamaged, UsageError

BAD = ("bad coordinates", *[None] * (len(COLUMNS) - 1))


Floats = npt.NDArray[np.float64]
NO_INDEX: Any = SimpleNamespace(is_there=False)


class Known:
    """Marts that know one unit, everywhere."""

    has_functions = True

    def __init__(self, *builds: str) -> None:
        self.batches: list[int] = []
        self._builds = iter(builds)

    def editions(self) -> list[Edition]:
        return [Edition("gadm", next(self._builds, "build-1"), None, None, None)]

    def locate(self, lon: float, lat: float) -> Row:
        return (
            "one unit",
            "AAA.1_1",
            1,
            "AAA",
            "AAA.1_1",
            None,
            None,
            None,
            None,
            *("A", "B", None, None, None, None),
            "A > B",
            ["AAA.1_1"],
            "Etc/GMT",
            ["Etc/GMT"],
        )

    def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
        self.batches.append(len(lons))
        return [BAD if np.isnan(lon + lat) else self.locate(lon, lat) for lon, lat in zip(lons, lats, strict=True)]

    def find(self, name: str, limit: int) -> list[object]:
        return []

    marts = "marts"

    def rows(self, _query: str) -> list[tuple[object, ...]]:
        """Return the spans of the one zone, from 1970 to 2030; in the first half, its places had different clocks."""
        shown = 0, False, "GMT", 1_000_000_000
        return [("Etc/GMT", 0, 1_000_000_000, *shown), ("Etc/GMT", 1_000_000_000, 1_893_456_000, *shown)]


def located(source: Path, target: Path, *, overwrite: bool = False, when: points.When | None = None) -> Known:
    """Locate a file and return who was asked."""
    known = Known()
    points.locate_file(known, NO_INDEX, source, target, lambda rows, share: None, overwrite=overwrite, when=when)  # type: ignore[arg-type]
    return known


def test_a_file_that_two_builds_would_have_answered_is_not_written(tmp_path: Path) -> None:
    source, target = tmp_path / "points.csv", tmp_path / "located.csv"
    source.write_text("lon,lat\n1,2\n")
    with pytest.raises(MartsReplaced, match="while they were read"):
        points.locate_file(Known("build-1", "build-2"), NO_INDEX, source, target, lambda rows, share: None)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["points.csv"]


def test_a_csv_keeps_its_columns_as_they_are_and_its_rows_in_order(tmp_path: Path) -> None:
    text = '\ufeffid,LATITUDE,lng,note\n007,1.50,2,"a, ""b"""\n008,,2,\n\n009,north,2,é\n'
    (tmp_path / "in.csv").write_text(text, encoding="utf-8")
    located(tmp_path / "in.csv", tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline="")))
    assert [(row["id"], row["LATITUDE"], row["note"]) for row in rows] == [
        ("007", "1.50", 'a, "b"'),
        ("008", "", ""),
        ("009", "north", "é"),
    ]
    assert [row["located_status"] for row in rows] == ["one unit", "bad coordinates", "bad coordinates"]
    assert (rows[0]["gids"], rows[0]["gid_2"]) == ("AAA.1_1", "")


def test_blanks_around_the_names_of_columns_are_no_part_of_them(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id, Longitude, Latitude\n7, 1.5, 2\n", encoding="utf-8")
    located(tmp_path / "in.csv", tmp_path / "out.csv")
    (row,) = csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline=""))
    assert (row["id"], row[" Longitude"], row["located_status"]) == ("7", " 1.5", "one unit")


def test_a_geoparquet_keeps_its_geometry_and_its_nulls(tmp_path: Path) -> None:
    shapes = [shapely.Point(1, 2), None, shapely.Point()]
    frame = gpd.GeoDataFrame({"id": [1, 2, 3]}, geometry=shapes, crs="EPSG:4326")
    frame.to_parquet(tmp_path / "in.parquet")
    located(tmp_path / "in.parquet", tmp_path / "out.parquet")
    back = gpd.read_parquet(tmp_path / "out.parquet")
    assert back.crs == frame.crs
    assert list(back["located_status"]) == ["one unit", "bad coordinates", "bad coordinates"]
    assert list(back["gids"][0]) == ["AAA.1_1"]
    assert back.geometry[0] == shapes[0]


def test_rows_are_asked_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "BATCH_ROWS", 10)
    (tmp_path / "in.csv").write_text("lon,lat\n" + "1,2\n" * 25)
    assert located(tmp_path / "in.csv", tmp_path / "out.csv").batches == [10, 10, 5]


def test_no_rows_give_no_rows(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("lon,lat\n")
    gpd.GeoDataFrame({"id": []}, geometry=[], crs="EPSG:4326").to_parquet(tmp_path / "in.parquet")
    for name in ("csv", "parquet"):
        located(tmp_path / f"in.{name}", tmp_path / f"out.{name}")
    assert (tmp_path / "out.csv").read_text().count("\n") == 1
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("name", "content", "out", "message"),
    [
        ("in.csv", b"x1,y1\n1,2\n", "out.csv", "has no columns lon and lat; it has: x1, y1"),
        ("in.csv", b"lon,lat,tzid\n1,2,3\n", "out.csv", "already has columns tzid"),
        ("in.csv", b"lon,lat\n1,2,3\n", "out.csv", "line 2: 3 columns instead of 2"),
        ("in.csv", b"lon,lat,a\n1,2,\xff\n", "out.csv", "is not UTF-8"),
        ("in.csv", b'lon,lat,a\n1,2,"b\n3,4,c\n', "out.csv", "is not a CSV file: unexpected end of data"),
        ("in.csv", b"lon,lat,lon\n1,2,3\n", "out.csv", "has several columns for lon: 'lon', 'lon'"),
        ("in.csv", b"LON,Lon,lat\n1,2,3\n", "out.csv", "has several columns for lon: 'LON', 'Lon'"),
        (
            "in.csv",
            b"lon,lat,longitude\n1,2,1\n1,2,3\n",
            "out.csv",
            "meant, 'lon' or 'longitude'.* The first says 1 where .* 3",
        ),
        ("in.csv", b"latitude,lng,Lat\n2,1,\n", "out.csv", "meant, 'Lat' or 'latitude'.* first says nothing where"),
        ("in.csv", b"LON,lat,lon\n1,2,3\n", "out.csv", "meant, 'lon' or 'LON'"),
        ("in.csv", b"x,X,y\n1,2,3\n", "out.csv", "meant, 'x' or 'X'"),
        ("in.csv", b"lon,lat,a,a\n1,2,3,4\n", "out.csv", "has several columns called a"),
        ("in.csv", b"lon,y\n1,2\n", "out.csv", "has no columns lon and lat; it has: lon, y"),
        ("in.csv", b"1.5,2\n3,4\n", "out.csv", "Its first line seems to be a point"),
        ("in.csv", b"id;lon;lat\n1;1,5;1,5\n", "out.csv", "separated by semicolons"),
        ("in.csv", b"lon\tlat\n1\t2\n", "out.csv", "separated by tabs"),
        ("in.csv", b"", "out.csv", "it has: none"),
        ("in.csv", b"lon,lat\n", "out.parquet", "is not in the format of"),
        ("in.csv", b"lon,lat\n", "in.csv", "is the input file itself"),
        ("in.csv", b"lon,lat\n", "none/out.csv", "cannot be written: No such file or directory"),
        ("in.txt", b"lon,lat\n", "out.txt", "is neither .csv nor .parquet"),
        ("in.parquet", b"lon,lat\n", "out.parquet", "is not a Parquet file"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_written(
    tmp_path: Path, name: str, content: bytes, out: str, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IngestError, match=message):
        located(tmp_path / name, tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == content


def test_a_second_column_for_a_coordinate_may_say_the_same_and_nothing_else(tmp_path: Path) -> None:
    text = "lon,lat,Longitude,x,y\n1.23456,2,1.2346,500000,4e6\n,2,,500000,4e6\n"
    (tmp_path / "in.csv").write_text(text)
    located(tmp_path / "in.csv", tmp_path / "out.csv")
    table = {"lon": [1.23456, None], "lat": [2.0, 2.0], "LON": [1.2346, None], "x": [5e5, 5e5], "y": [4e6, 4e6]}
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    located(tmp_path / "in.parquet", tmp_path / "out.parquet")
    pq.write_table(pa.table({**table, "longitude": [1.2, None]}), tmp_path / "differ.parquet")
    with pytest.raises(SchemaDrift, match="meant, 'lon' or 'longitude'"):
        located(tmp_path / "differ.parquet", tmp_path / "none.parquet")
    for name in ("out.csv", "out.parquet"):
        assert statuses(tmp_path / name) == ["one unit", "bad coordinates"]
    assert not (tmp_path / "none.parquet").exists()


def test_columns_beside_points_of_a_table_say_the_same_or_one_of_them_is_to_go() -> None:
    marts: Any = Known()
    columns = {"lon": [1.5, 2.5], "lat": [2.0, 3.0]}
    same = gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(*columns.values()), crs=4326)
    assert points.locate_table(marts, NO_INDEX, points.table_of(same)).num_rows == 2
    areas = same.set_geometry(shapely.buffer(same.geometry.array, 1e-3), crs=4326)  # of which these are not the corners
    assert points.locate_table(marts, NO_INDEX, points.table_of(areas)).num_rows == 2
    other = same.set_geometry(gpd.points_from_xy([1.5, 2.5], [2.0, 3.1]), crs=4326)
    with pytest.raises(SchemaDrift, match=r"meant, 'lat' or 'geometry'.* says 3 where .* 3\.1"):
        points.locate_table(marts, NO_INDEX, points.table_of(other))


@pytest.mark.parametrize("encoding", ["WKB", "geoarrow"])
def test_a_geometry_and_columns_of_degrees_must_say_the_same(tmp_path: Path, encoding: Any) -> None:
    frame = gpd.GeoDataFrame(
        {"lon": [1.0], "lat": [2.0], "x": [5e5], "y": [4e6]}, geometry=[shapely.Point(1, 2)], crs=4326
    )
    frame.to_parquet(tmp_path / "in.parquet", geometry_encoding=encoding)
    located(tmp_path / "in.parquet", tmp_path / "out.parquet")
    frame.assign(lat=[2.5]).to_parquet(tmp_path / "differ.parquet", geometry_encoding=encoding)
    with pytest.raises(SchemaDrift, match=r"meant, 'geometry' or 'lat'\? The first says 2 where the other says 2.5"):
        located(tmp_path / "differ.parquet", tmp_path / "none.parquet")
    frame[["x", "y", "geometry"]].to_parquet(tmp_path / "metres.parquet", geometry_encoding=encoding)
    located(tmp_path / "metres.parquet", tmp_path / "metres-out.parquet")
    assert statuses(tmp_path / "metres-out.parquet") == ["one unit"]


def test_other_geometry_and_other_systems_are_refused(tmp_path: Path) -> None:
    metres = gpd.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs="EPSG:3857")
    lines = gpd.GeoDataFrame(geometry=[shapely.LineString([(0, 0), (1, 1)])], crs="EPSG:4326")
    for frame, message in ((metres, "Convert it to EPSG:4326"), (lines, "geometry other than points")):
        frame.to_parquet(tmp_path / "in.parquet")
        with pytest.raises(IngestError, match=message):
            located(tmp_path / "in.parquet", tmp_path / "out.parquet")


def statuses(path: Path) -> list[str]:
    """Return the answers in a file."""
    if path.suffix == ".csv":
        return [row["located_status"] for row in csv.DictReader(path.open(encoding="utf-8", newline=""))]
    return list(pq.read_table(path)["located_status"].to_pylist())


def test_an_existing_file_is_replaced_only_on_request(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("lon,lat\n1,2\n")
    target.write_text("precious")
    with pytest.raises(UsageError, match=r"out\.csv already exists\. Use --overwrite to replace it"):
        located(source, target)
    assert target.read_text() == "precious"
    located(source, target, overwrite=True)
    assert statuses(target) == ["one unit"]


def test_a_row_of_another_length_is_never_shifted(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("lon,lat,a,b\n1,2\n1\n1,2,3,4,,\n1,2,3,4\n")
    located(tmp_path / "in.csv", tmp_path / "out.csv")
    assert statuses(tmp_path / "out.csv") == ["one unit", "bad coordinates", "one unit", "one unit"]
    rows = list(csv.reader((tmp_path / "out.csv").open(newline="")))
    assert [row[:4] for row in rows[1:]] == [["1", "2", "", ""], ["1", "", "", ""], *[["1", "2", "3", "4"]] * 2]
    assert {len(row) for row in rows} == {4 + len(COLUMNS)}


def test_a_field_may_be_wider_than_pythons_reader_allows_and_wide_rows_are_asked_in_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "BATCH_BYTES", 1_000_000)
    outline, limit = "0 0," * 100_000, csv.field_size_limit()
    (tmp_path / "in.csv").write_text("lon,lat,wkt\r\n" + f'1,2,"{outline}\r\nend"\r\n' * 5, newline="")
    assert located(tmp_path / "in.csv", tmp_path / "out.csv").batches == [3, 2]
    assert csv.field_size_limit() == limit
    csv.field_size_limit(1 << 20)
    try:
        rows = list(csv.reader((tmp_path / "out.csv").open(newline="")))
    finally:
        csv.field_size_limit(limit)
    assert [row[2] for row in rows[1:]] == [f"{outline}\r\nend"] * 5
    pq.write_table(
        pa.table({"lon": [1] * 30, "lat": [2] * 30, "wkt": ["ab" * n for n in range(99_970, 100_000)]}),
        tmp_path / "in.parquet",
        compression="none",
        use_dictionary=False,
    )
    assert max(located(tmp_path / "in.parquet", tmp_path / "out.parquet").batches) < 10


@pytest.mark.parametrize(
    "text", ["", " ", "abc", "1,5", "nan", "1_5", "0x1", "12°", "12 N", "1 5", "1e", "--1", "1.5.2"]
)
def test_a_text_that_is_not_one_number_is_not_taken_for_another(text: str) -> None:
    assert np.isnan(degrees(text))


@pytest.mark.parametrize(("text", "number"), [(" 1.5 ", 1.5), ("+2", 2), ("1e1", 10), ("−66.1", -66.1), ("007", 7)])
def test_a_text_that_is_a_number_is_that_number(text: str, number: float) -> None:
    assert degrees(text) == number


NUMBERS: list[pa.Array] = [
    *(pa.array([1, None, 2], kind) for kind in (pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32())),
    pa.array([Decimal("1.00"), None, Decimal("2.00")], pa.decimal128(9, 2)),
    *(pa.array(["1", "", "2"], kind) for kind in (pa.string(), pa.large_string(), pa.binary())),
    *(pa.array(["1", "abc", " 2 "]), pa.array(["1", None, "2"]).dictionary_encode()),
    *(pa.array([1, None, 2]).dictionary_encode(), pa.array([1.0, float("nan"), 2.0])),
]


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: str(column.type))
def test_numbers_of_any_type_are_numbers_and_everything_else_is_bad_coordinates(
    tmp_path: Path, column: pa.Array
) -> None:
    asked: list[list[float]] = []

    class Recorder(Known):
        def locate_points(self, lons: Floats, lats: Floats) -> list[Row]:
            asked.append(lons.tolist())
            return super().locate_points(lons, lats)

    pq.write_table(pa.table({"lon": column, "lat": column}), tmp_path / "in.parquet")
    recorder: Any = Recorder()
    points.locate_file(recorder, NO_INDEX, tmp_path / "in.parquet", tmp_path / "out.parquet", lambda *_: None)
    assert statuses(tmp_path / "out.parquet") == ["one unit", "bad coordinates", "one unit"]
    assert (asked[0][0], asked[0][2]) == (1, 2)
    kept = pq.read_table(tmp_path / "out.parquet").select(["lon", "lat"])
    assert (kept.schema, str(kept)) == (
        pq.read_schema(tmp_path / "in.parquet"),
        str(pq.read_table(tmp_path / "in.parquet")),
    )


def test_a_whole_number_that_is_no_coordinate_at_all_stops_nobody(tmp_path: Path) -> None:
    pq.write_table(pa.table({"lon": [1, 2**63 - 1], "lat": [1, 1]}), tmp_path / "in.parquet")
    located(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert len(statuses(tmp_path / "out.parquet")) == 2


def test_a_type_that_cannot_be_a_number_is_refused_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"lon": [True], "lat": [False]}), tmp_path / "in.parquet")
    with pytest.raises(SchemaDrift, match="lon is of type bool"):
        located(tmp_path / "in.parquet", tmp_path / "out.parquet")


BAD_FILES = [
    ('"1,5","2,5"', "they have decimal commas"),
    (",", "they are blank"),
    ("abc,north", "they are not numbers"),
    ("18.4,-166.1", "longitude and latitude seem to be swapped"),
    ("293.9,18.4", "their longitudes go beyond 180"),
    ("-7358000,2086000", "seem to be metres"),
    ("inf,1", "they are not numbers"),
    ("-200,95", "beyond the range of degrees"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_FILES)
def test_a_file_whose_every_row_is_bad_says_why_and_nothing_is_written(tmp_path: Path, row: str, reason: str) -> None:
    (tmp_path / "in.csv").write_text("lon,lat\n" + f"{row}\n" * 3)
    with pytest.raises(SchemaDrift, match=reason) as caught:
        located(tmp_path / "in.csv", tmp_path / "out.csv")
    assert (caught.value.exit_code, bool(caught.value.hint)) == (1, True)
    assert "3 read" in str(caught.value)
    assert not (tmp_path / "out.csv").exists()
    (tmp_path / "in.csv").write_text("lon,lat\n" + f"{row}\n" * 3 + "1,2\n")
    located(tmp_path / "in.csv", tmp_path / "out.csv")
    assert len(statuses(tmp_path / "out.csv")) == 4


def test_a_geometry_of_points_comes_before_columns_and_other_geometry_does_not(tmp_path: Path) -> None:
    columns = {"lon": ["", ""], "lat": ["", ""]}
    for number, shapes in enumerate(
        ([shapely.Point(1, 2), shapely.Point(3, 4, 5)], [shapely.Point(1, 2).buffer(1)] * 2)
    ):
        frame = gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326")
        frame.to_parquet(tmp_path / f"in{number}.parquet")
    located(tmp_path / "in0.parquet", tmp_path / "out0.parquet")
    assert statuses(tmp_path / "out0.parquet") == ["one unit", "one unit"]
    with pytest.raises(SchemaDrift, match="they are blank"):
        located(tmp_path / "in1.parquet", tmp_path / "out1.parquet")


@pytest.mark.parametrize("encoding", ["WKB", "geoarrow"])
def test_points_may_be_of_any_encoding_and_without_a_reference_system_or_with_heights(
    tmp_path: Path, encoding: str
) -> None:
    for crs in (None, "OGC:CRS84", "EPSG:4326", "EPSG:4979"):
        frame = gpd.GeoDataFrame(geometry=[shapely.Point(1, 2), None], crs=crs)
        frame.to_parquet(tmp_path / "in.parquet", geometry_encoding=encoding)
        located(tmp_path / "in.parquet", tmp_path / "out.parquet", overwrite=True)
        assert statuses(tmp_path / "out.parquet") == ["one unit", "bad coordinates"]


def test_a_point_that_cannot_be_read_is_bad_coordinates(tmp_path: Path) -> None:
    geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": {"encoding": "WKB", "geometry_types": []}}}
    table = pa.table({"g": [shapely.Point(1, 2).wkb, b"\x01\x02", shapely.LineString([(0, 0), (1, 1)]).wkb]})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), tmp_path / "in.parquet")
    located(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert statuses(tmp_path / "out.parquet") == ["one unit", "bad coordinates", "bad coordinates"]


def test_a_parquet_file_that_breaks_off_is_said_to_be_damaged(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pq.write_table(pa.table({"lon": rng.uniform(size=9999), "lat": rng.uniform(size=9999)}), tmp_path / "in.parquet")
    whole = (tmp_path / "in.parquet").read_bytes()
    (tmp_path / "in.parquet").write_bytes(whole[:4] + b"\xff" * 200 + whole[204:])
    with pytest.raises(SourceDamaged, match="cannot be read to its end"):
        located(tmp_path / "in.parquet", tmp_path / "out.parquet")


def test_a_polygon_is_cut_into_pieces_that_cover_it_and_do_not_overlap() -> None:
    angles = np.linspace(0, 2 * np.pi, 5000)
    radii = 1 + 0.3 * np.sin(40 * angles)
    hole = [(0.1, 0.1), (0.2, 0.1), (0.1, 0.2)]
    polygon = shapely.Polygon(np.column_stack([radii * np.cos(angles), radii * np.sin(angles)]), [hole])
    pieces = {piece["piece_number"]: shapely.from_wkb(piece["geom"]) for piece in cut_polygon(polygon.wkb, 250)}
    assert len(pieces) > 20
    assert max(map(shapely.get_num_coordinates, pieces.values())) <= 250
    assert sum(piece.area for piece in pieces.values()) == pytest.approx(polygon.area, rel=1e-12)
    assert shapely.union_all(list(pieces.values())).symmetric_difference(polygon).area < 1e-12


def test_a_small_polygon_is_one_piece_as_it_is() -> None:
    triangle = shapely.Polygon([(0, 0), (1, 0), (0, 1)])
    assert cut_polygon(triangle.wkb, 4) == [{"piece_number": 1, "geom": triangle.wkb}]


def test_a_name_with_brackets_leaves_no_draft_behind_when_writing_fails(tmp_path: Path) -> None:
    source, target = tmp_path / "in[1].csv", tmp_path / "out[1].csv"
    source.write_text("lon,lat\n1,2\n1,2,3\n", encoding="utf-8")
    with pytest.raises(IngestError, match="line 3"):
        located(source, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in[1].csv"]


# when

SEEN = dt.datetime(2026, 3, 29, 0, 30, tzinfo=dt.UTC)


def test_a_csv_with_times_says_what_clocks_showed(tmp_path: Path) -> None:
    text = (
        "lon,lat,seen\n1,2,2026-03-29T02:30+02:00\n1,2,2026-03-29 00:30\n1,2,noon\n1,2,1999-01-01T00:00Z\n"
        ",,2026-03-29T00:30Z\n"
    )
    (tmp_path / "in.csv").write_text(text)
    located(tmp_path / "in.csv", tmp_path / "out.csv", when=points.When(column="seen"))
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8")))
    assert [row["time_status"] for row in rows] == ["one time", "one time", "bad time", "uncertain", "no zone"]
    for row in rows[:2]:
        assert (row["utc_time"], row["local_time"]) == ("2026-03-29T00:30:00Z", "2026-03-29T00:30:00")
        assert (row["utc_offset"], row["is_dst"], row["abbreviation"]) == ("+00:00", "false", "GMT")
    assert [rows[2][name] for name in ("utc_time", "local_time", "utc_offset", "is_dst", "abbreviation")] == [""] * 5
    assert [row["seen"] for row in rows] == [line.split(",")[2] for line in text.splitlines()[1:]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([SEEN, None], pa.timestamp("ns", tz="Europe/Paris")),
        pa.array([SEEN.replace(tzinfo=None), None], pa.timestamp("s")),
        pa.array(["2026-03-29T00:30Z", ""]),
        pa.array(["2026-03-29T00:30Z", None]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_times_in_parquet_may_be_of_any_type_of_time(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"lon": [1.0, 1.0], "lat": [2.0, 2.0], "seen": column}), tmp_path / "in.parquet")
    located(tmp_path / "in.parquet", tmp_path / "out.parquet", when=points.When(column="seen"))
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (found[0]["utc_time"], found[0]["local_time"]) == (SEEN, SEEN.replace(tzinfo=None))
    assert [row["time_status"] for row in found] == ["one time", "bad time"]


def test_one_time_may_be_asked_of_every_point(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("lon,lat\n1,2\n3,4\n")
    located(tmp_path / "in.csv", tmp_path / "out.csv", when=points.When(time=SEEN))
    rows = csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8"))
    assert [row["utc_time"] for row in rows] == ["2026-03-29T00:30:00Z"] * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lon,lat,seen\n1,2,noon\n1,2,\n", "no row has a time that can be read .2 read.. The first is 'noon'"),
        ("lon,lat\n1,2\n", "has no column 'seen'"),
        ("lon,lat,seen,is_dst\n1,2,2026-03-29T00:30Z,x\n", "already has columns is_dst"),
    ],
)
def test_a_file_without_times_is_refused_and_nothing_is_written(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "in.csv").write_text(text)
    with pytest.raises(IngestError, match=said):
        located(tmp_path / "in.csv", tmp_path / "out.csv", when=points.When(column="seen"))
    assert not (tmp_path / "out.csv").exists()


def test_a_column_of_another_type_is_no_time(tmp_path: Path) -> None:
    pq.write_table(pa.table({"lon": [1.0], "lat": [2.0], "seen": [1774744200]}), tmp_path / "in.parquet")
    with pytest.raises(SchemaDrift, match="seen is of type int64"):
        located(tmp_path / "in.parquet", tmp_path / "out.parquet", when=points.When(column="seen"))
