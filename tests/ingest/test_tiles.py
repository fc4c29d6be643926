"""Tiles: no unit is lost at any zoom, borders stay shared, and the archive says what it is.

GDAL reads the tiles, which shares no code with what writes them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from pmtiles.reader import MmapSource, Reader, all_tiles
from pmtiles.tile import zxy_to_tileid
from pyogrio._ogr import _register_drivers

from admin_boundaries.tiles import archive, kernels
from ingest import catalog
from ingest.cli import cli
from ingest.errors import CountMismatch, ExportFailed, MartsMissing, UsageError
from ingest.settings import Settings
from tests.fixtures import mapped

EXTENT, LAST_EXTENT = 2048, 4096
TILE = shapely.box(0, 0, EXTENT, EXTENT)


def write(
    settings: Settings, output: Path, countries: tuple[str, ...] = (), *, overwrite: bool = False
) -> tuple[list[str], list[str]]:
    """Write tiles; return what was said, and the warnings about licences."""
    warned: list[str] = []
    said = archive.write(
        settings,
        countries,
        output,
        overwrite=overwrite,
        of_datasets=catalog.rights_of_datasets(),
        progress=lambda _share: None,
        warn=pytest.fail,
        warn_of_licences=warned.append,
    )
    return said, warned


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded target with invented units and their tiles, world.pmtiles."""
    home = tmp_path_factory.mktemp("tiles")
    mapped.write(home)
    write(_settings(home), home / "world.pmtiles")
    return home


def _settings(home: Path) -> Settings:
    from ingest.settings import read_settings

    return replace(read_settings(), home=home, postgres=None)


@pytest.fixture
def mapped_settings(settings: Settings, home: Path) -> Settings:
    """Settings of the invented units."""
    return replace(settings, home=home)


@cache
def tiles_of(path: Path) -> dict[tuple[int, int, int], bytes]:
    """Return all tiles by zoom, column and row."""
    with path.open("rb") as file:
        return dict(all_tiles(Reader(MmapSource(file)).get_bytes))


def layer_of(tile: bytes, layer: str, folder: Path) -> Any:
    """Read a layer of a tile with GDAL, in the units of its grid; empty if there is no such layer."""
    path = folder / "tile.mvt"
    path.write_bytes(gzip.decompress(tile))
    _register_drivers()  # a test of an engine may have removed them from this process
    names = pyogrio.list_layers(path)[:, 0].tolist()
    if layer not in names:
        return geopandas.GeoDataFrame({"gid": []}, geometry=[])
    return pyogrio.read_dataframe(path, layer=layer, CLIP="NO")


def units_of(path: Path, zoom: int, layer: str, folder: Path) -> Iterator[tuple[tuple[int, int], Any]]:
    for (number, column, row), tile in tiles_of(path).items():
        if number == zoom:
            yield (column, row), layer_of(tile, layer, folder)


@pytest.mark.parametrize(("layer", "first"), [("level_0", 0), ("level_1", 2), ("level_2", 4)])
def test_each_unit_is_in_some_tile_of_every_zoom_where_its_level_shows(
    home: Path, tmp_path: Path, layer: str, first: int
) -> None:
    wanted = {gid for gid in mapped.land() if gid.count(".") == int(layer[-1])}
    for zoom in range(8):
        found = {gid for _at, units in units_of(home / "world.pmtiles", zoom, layer, tmp_path) for gid in units["gid"]}
        assert found == (wanted if zoom >= first else set()), zoom


def test_neighbours_part_and_overlap_nowhere(home: Path, tmp_path: Path) -> None:
    checked = 0
    for zoom in range(4, 9):
        country = dict(units_of(home / "world.pmtiles", zoom, "level_0", tmp_path))
        for at, units in units_of(home / "world.pmtiles", zoom, "level_1", tmp_path):
            shapes = units.geometry.to_numpy()
            inside = shapely.intersection(shapes, TILE)
            whole = country[at].geometry[country[at]["gid"] == "AAA"].union_all()
            assert shapely.area(inside).sum() == pytest.approx(shapely.intersection(whole, TILE).area, abs=1e-6)
            vertices = [set(map(tuple, shapely.get_coordinates(each))) for each in inside]
            borders = shapely.boundary(inside)
            shapely.prepare(borders)
            for first, second in combinations(range(len(inside)), 2):
                assert inside[first].intersection(inside[second]).area == 0, (zoom, at)
                border, own = vertices[first], vertices[second]
                on_both = shapely.intersects(borders[second], shapely.points(list(border)))
                within = {each for each, is_on in zip(border, on_both, strict=True) if is_on and is_within(each)}
                assert within <= own, (zoom, at)
                checked += len(within)
    assert checked > 200


def is_within(vertex: tuple[float, float]) -> bool:
    """Whether a vertex is in a tile and not at its edge, where a border is cut."""
    return all(0 < number < EXTENT for number in vertex)


def test_a_unit_smaller_than_a_pixel_is_a_square_of_one(home: Path, tmp_path: Path) -> None:
    for zoom in range(8):
        islands = [
            shape
            for _at, units in units_of(home / "world.pmtiles", zoom, "level_0", tmp_path)
            for shape in units.geometry[units["gid"] == "ISL"]
        ]
        assert {shape.area for shape in islands} == {(EXTENT // 512) ** 2}, zoom


def test_what_a_tile_says_of_a_unit_is_what_the_marts_say(home: Path, tmp_path: Path) -> None:
    units = layer_of(tiles_of(home / "world.pmtiles")[4, 8, 5], "level_1", tmp_path).set_index("gid")
    east = units.loc["AAA.2_1"]
    assert (east["name"], east["parent"], east["level"]) == ("Ünit AAA.2_1", "AAA", 1)
    assert (east["zone"], east["anomaly"]) == ("Etc/East", "error")
    assert units["anomaly"].notna().sum() == 1
    zones = layer_of(tiles_of(home / "world.pmtiles")[0, 0, 0], "timezones", tmp_path)
    assert dict(zip(zones["gid"], zones["offset"], strict=True)) == {"Etc/East": 60, "Etc/West": -60}


def test_a_unit_in_a_hole_of_another_does_not_overlap_it(home: Path, tmp_path: Path) -> None:
    units = layer_of(tiles_of(home / "world.pmtiles")[4, 8, 5], "level_1", tmp_path).set_index("gid").geometry
    (polygon,) = units["AAA.1_1"].geoms
    assert len(polygon.interiors) == 1
    assert units["AAA.1_1"].intersection(units["AAA.3_1"]).area == 0


def test_both_halves_of_a_unit_at_the_date_line_end_there(home: Path) -> None:
    rows = {row for zoom, column, row in tiles_of(home / "world.pmtiles") if zoom == 5 and column in (0, 31)}
    assert 17 in rows
    found = [
        gid
        for column in (0, 31)
        for gid in layer_of(tiles_of(home / "world.pmtiles")[5, column, 17], "level_0", home)["gid"]
    ]
    assert found == ["DAT", "DAT"]
    west, east = (layer_of(tiles_of(home / "world.pmtiles")[5, column, 17], "level_0", home) for column in (0, 31))
    edge = kernels.BUFFER_PIXELS * EXTENT // 512
    assert (west.total_bounds[0], east.total_bounds[2]) == (-edge, EXTENT + edge), "a line along the date line"


def test_each_name_is_once_in_the_last_zoom_and_before_only_where_there_is_room(home: Path, tmp_path: Path) -> None:
    shapes, seen = mapped.land(), dict[int, set[str]]()
    for (zoom, column, row), tile in tiles_of(home / "world.pmtiles").items():
        labels = layer_of(tile, "labels", tmp_path) if b"labels" in gzip.decompress(tile) else None
        for label in () if labels is None else labels.itertuples():
            assert label.gid not in seen.setdefault(zoom, set()), "twice"
            seen[zoom].add(label.gid)
            assert zoom == 10 or label.from_zoom <= zoom
            extent = LAST_EXTENT if zoom == 10 else EXTENT
            x, y = column + label.geometry.x / extent, row + 1 - label.geometry.y / extent  # GDAL has south at 0
            lat = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * y / 2**zoom))))
            at = shapely.Point(360 * x / 2**zoom - 180, lat)
            assert at.distance(shapes[label.gid]) < 1, "the one at the pole is beyond the map"
            assert (label.name, label.level) == (f"Ünit {label.gid}", label.gid.count("."))
    assert seen[10] == set(shapes)
    assert "AAA" in seen[2]
    assert not any("ISL" in seen.get(zoom, ()) for zoom in range(10)), "smaller than a pixel"


def test_a_tile_that_is_too_large_even_so_is_refused_in_words(
    mapped_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 200)
    with pytest.raises(ExportFailed, match=r"The tile \d+/\d+/\d+ shows \d+ units and names"):
        write(mapped_settings, tmp_path / "small.pmtiles")
    assert list(tmp_path.iterdir()) == []


def test_a_zone_fills_every_tile_that_it_covers(home: Path, tmp_path: Path) -> None:
    tiles = tiles_of(home / "world.pmtiles")
    inside = [(column, row) for zoom, column, row in tiles if zoom == 8 and 132 <= column < 152 and 83 <= row < 100]
    assert len(inside) == 20 * 17
    zone = layer_of(tiles[8, 133, 84], "timezones", tmp_path)
    assert zone["gid"].tolist() == ["Etc/East"]
    assert zone.geometry.iloc[0].area >= EXTENT**2


def test_the_last_zoom_has_a_finer_grid(home: Path, tmp_path: Path) -> None:
    bounds = layer_of(tiles_of(home / "world.pmtiles")[10, 532, 340], "timezones", tmp_path).total_bounds
    assert bounds[2] - bounds[0] == LAST_EXTENT * (512 + 2 * kernels.BUFFER_PIXELS) // 512


def test_the_archive_says_whose_it_is_and_what_is_in_it(home: Path) -> None:
    with (home / "world.pmtiles").open("rb") as file:
        reader = Reader(MmapSource(file))
        metadata, header = reader.metadata(), reader.header()
    assert "Open licence" in metadata["licence"]
    assert "Office of Maps" in metadata["attribution"]
    assert "OpenStreetMap" in metadata["attribution"]
    assert {layer["id"]: layer["minzoom"] for layer in metadata["vector_layers"]} == {
        "level_0": 0,
        "level_1": 2,
        "level_2": 4,
        "timezones": 0,
        "labels": 0,
    }
    assert (header["min_zoom"], header["max_zoom"], header["clustered"]) == (0, 10, True)
    assert header["addressed_tiles_count"] == len(tiles_of(home / "world.pmtiles"))
    assert header["tile_entries_count"] < header["addressed_tiles_count"] / 2  # most are one unit and nothing else


def test_a_tile_that_is_too_large_is_drawn_coarser_and_loses_no_unit(
    mapped_settings: Settings, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 600)
    said, _warned = write(mapped_settings, tmp_path / "small.pmtiles")
    assert "drawn on a coarser grid, so as not to be larger than" in said[1]
    before, after = tiles_of(home / "world.pmtiles"), tiles_of(tmp_path / "small.pmtiles")
    assert before.keys() == after.keys()
    is_coarser = False
    for at, tile in after.items():
        if len(before[at]) > 600:
            assert len(tile) < len(before[at])
            for layer in ("level_0", "level_1"):
                units, fewer = (layer_of(each, layer, tmp_path)["gid"].tolist() for each in (before[at], tile))
                assert units == fewer
            is_coarser = True
    assert is_coarser


def test_a_country_is_drawn_alone_with_its_zone(mapped_settings: Settings, tmp_path: Path) -> None:
    write(mapped_settings, tmp_path / "one.pmtiles", ("ISL",))
    tile = tiles_of(tmp_path / "one.pmtiles")[0, 0, 0]
    assert layer_of(tile, "level_0", tmp_path)["gid"].tolist() == ["ISL"]
    assert layer_of(tile, "timezones", tmp_path)["gid"].tolist() == ["Etc/West"]


def test_a_unit_that_is_in_no_tile_is_an_error_and_leaves_no_file(
    mapped_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = kernels.cut

    def without_first(*given: Any) -> Any:
        pieces, data = cut(*given)
        return pieces[pieces[:, 0] != 0], data

    monkeypatch.setattr(kernels, "cut", without_first)
    with pytest.raises(CountMismatch, match="is in no tile of zoom 0"):
        write(mapped_settings, tmp_path / "lost.pmtiles")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_unless_told_otherwise(mapped_settings: Settings, tmp_path: Path) -> None:
    output = tmp_path / "world.pmtiles"
    output.write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        write(mapped_settings, output)
    assert output.read_text() == "mine"
    write(mapped_settings, output, ("ISL",), overwrite=True)
    assert output.read_bytes().startswith(b"PMTiles")


@pytest.mark.parametrize(
    ("name", "country", "message"),
    [
        ("world.mbtiles", "ISL", "is not .pmtiles"),
        ("none/world.pmtiles", "ISL", "There is no folder"),
        ("world.pmtiles", "ISK", "ISK is not in the marts of gadm"),
    ],
)
def test_what_cannot_be_written_is_refused(
    mapped_settings: Settings, tmp_path: Path, name: str, country: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        write(mapped_settings, tmp_path / name, (country,))


def test_without_simplified_units_the_command_says_what_to_build(settings: Settings, tmp_path: Path) -> None:
    with duckdb.connect(str(mapped.write(settings.home))) as connection:
        connection.execute("drop table marts.admin_units_simplified")
    with pytest.raises(MartsMissing, match="have no admin_units_simplified"):
        write(settings, tmp_path / "world.pmtiles")


def vertices(commands: list[int]) -> list[tuple[int, int]]:
    """Return the vertices of a geometry, given the numbers of its commands."""
    found, at, x, y = list[tuple[int, int]](), 0, 0, 0
    while at < len(commands):
        command, count = commands[at] & 7, commands[at] >> 3
        at += 1
        for _ in range(count if command != kernels.CLOSE else 0):
            x, y = (old + ((new >> 1) ^ -(new & 1)) for old, new in zip((x, y), commands[at : at + 2], strict=True))
            found.append((x, y))
            at += 2
    return found


def numbers(data: bytes) -> list[int]:
    """Return numbers of seven bits a byte."""
    found, number, shift = list[int](), 0, 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(number)
            number = shift = 0
    return found


def test_a_border_that_is_cut_ends_at_the_same_point_on_both_sides() -> None:
    random = np.random.default_rng(7)
    checked = 0
    for _ in range(40):
        (west, east), (north, south) = np.sort(random.integers(0, 8 * EXTENT, (2, 2)), axis=1).tolist()
        upper, lower = [(west, south), (east, north), (west, north)], [(east, north), (west, south), (east, south)]
        xs, ys = np.array([*upper, upper[0], *lower, lower[0]], np.int64).T.copy()
        offsets = [np.array(each, np.int64) for each in ([0, 4, 8], [0, 1, 2], [0, 1], [1, 2])]
        pieces, data = kernels.cut(3, EXTENT, xs, ys, *offsets)
        cuts: dict[tuple[int, int], list[set[tuple[int, int]]]] = {}
        buffer = kernels.BUFFER_PIXELS * EXTENT // 512
        for unit, column, row, offset, length in pieces[pieces[:, 3] != kernels.FULL].tolist():
            sides = (west - column * EXTENT, east - column * EXTENT, north - row * EXTENT, south - row * EXTENT)
            edges = (-buffer, EXTENT + buffer)
            found = {
                (x, y)
                for x, y in vertices(numbers(data[offset : offset + length].tobytes()))
                if x not in sides[:2] and y not in sides[2:] and not (x in edges and y in edges)
            }
            cuts.setdefault((column, row), [set(), set()])[unit] = found
        for one, other in cuts.values():
            if one and other:
                assert one == other
                checked += len(one)
    assert checked > 100


def test_tiles_have_the_numbers_that_pmtiles_gives_them() -> None:
    for zoom in (0, 1, 5, 10):
        random = np.random.default_rng(zoom)
        columns, rows = random.integers(0, 1 << zoom, (2, 50))
        expected = [zxy_to_tileid(zoom, *at) for at in zip(columns.tolist(), rows.tolist(), strict=True)]
        assert kernels.tile_ids(zoom, columns, rows).tolist() == expected


def test_only_a_tile_of_the_same_units_is_taken_for_the_one_before_it() -> None:
    full, drawn = kernels.FULL, 0
    tiles = [
        [(0, 5, full), (6, 9, full)],
        [(0, 5, full), (6, 9, full)],  # as before
        [(6, 9, full)],
        [(6, 9, full)],  # as before
        [(6, 8, full)],
        [(6, 8, drawn)],
        [(6, 8, drawn)],
        [(0, 5, full), (6, 8, full)],
        [(6, 5, full), (6, 8, full)],
    ]
    pieces = np.array([(number, *piece, 0) for number, tile in enumerate(tiles) for piece in tile], np.int64)
    bounds = np.cumsum([0, *map(len, tiles)])
    assert archive._differ_from_last(pieces, bounds).tolist() == [number not in (1, 3) for number in range(len(tiles))]


def test_the_command_writes_tiles_and_no_bar_without_a_terminal(
    mapped_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAREHOUSE_HOME", str(mapped_settings.home))
    monkeypatch.setenv("WAREHOUSE_TARGET", "embedded")
    output = tmp_path / "world.pmtiles"
    cli.main(["tiles", "--country", "ISL", "-o", str(output)], standalone_mode=False)
    said = capsys.readouterr()
    assert "tiles, " in said.out.replace("\n", " ")
    assert "mixes licences" in said.err.replace("\n", " ")
    assert "%" not in said.err
