"""Points of a file in, the same file with answers out; what cannot be used is said, and nothing is written then."""

from __future__ import annotations

import csv
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from admin_boundaries import points
from admin_boundaries.duckdb_plugin import cut_polygon
from admin_boundaries.edition import Edition
from admin_boundaries.locate import COLUMNS, Row
from ingest.errors import IngestError, MartsReplaced

BAD = ("bad coordinates", *[None] * (len(COLUMNS) - 1))


class Known:
    """Marts that know one unit, everywhere."""

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
            "A > B",
            ["AAA.1_1"],
            "Etc/GMT",
            ["Etc/GMT"],
        )

    def locate_points(self, lons: points.Floats, lats: points.Floats) -> list[Row]:
        self.batches.append(len(lons))
        return [BAD if np.isnan(lon + lat) else self.locate(lon, lat) for lon, lat in zip(lons, lats, strict=True)]

    def find(self, name: str, limit: int) -> list[object]:
        return []


def located(source: Path, target: Path) -> Known:
    """Locate a file and return who was asked."""
    known = Known()
    points.locate_file(known, source, target, lambda rows: None)  # type: ignore[arg-type]
    return known


def test_a_file_that_two_builds_would_have_answered_is_not_written(tmp_path: Path) -> None:
    source, target = tmp_path / "points.csv", tmp_path / "located.csv"
    source.write_text("lon,lat\n1,2\n")
    with pytest.raises(MartsReplaced, match="while they were read"):
        points.locate_file(Known("build-1", "build-2"), source, target, lambda rows: None)  # type: ignore[arg-type]
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


def test_other_geometry_and_other_systems_are_refused(tmp_path: Path) -> None:
    metres = gpd.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs="EPSG:3857")
    lines = gpd.GeoDataFrame(geometry=[shapely.LineString([(0, 0), (1, 1)])], crs="EPSG:4326")
    for frame, message in ((metres, "Convert it to EPSG:4326"), (lines, "geometry other than points")):
        frame.to_parquet(tmp_path / "in.parquet")
        with pytest.raises(IngestError, match=message):
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
    source.write_text("lon,lat\n1,2\n1\n", encoding="utf-8")
    with pytest.raises(IngestError, match="line 3"):
        located(source, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in[1].csv"]
