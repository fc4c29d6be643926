"""Pictures show what the marts hold, and the docs page is whole with them."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import shapely
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from admin_boundaries import pictures, what_changed
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.pictures import changes, charts, entities, maps, page, style
from admin_boundaries.warehouse import known_marts, open_warehouse
from ingest.errors import MartsMissing, UsageError
from ingest.settings import Settings
from tests.conftest import ROOT
from tests.fixtures import marts as built
from tests.ingest.test_cli import run_apart

MOST_BYTES = 300_000


def node(name: str, key: tuple[str, ...], columns: tuple[str, ...], folder: str = "marts") -> dict[str, Any]:
    """Return a model as dbt's manifest has it."""
    return {
        "resource_type": "model",
        "name": name,
        "fqn": ["admin_boundaries", folder, "admin", name],
        "constraints": [{"type": "primary_key", "columns": list(key)}],
        "columns": {each: {"constraints": []} for each in columns},
    }


def relationship(child: str, column: str, parent: str) -> dict[str, Any]:
    """Return a test as dbt's manifest has it."""
    return {
        "resource_type": "test",
        "test_metadata": {"name": "relationships"},
        "attached_node": child,
        "column_name": column,
        "depends_on": {"nodes": sorted({child, parent})},
    }


MANIFEST = {
    "nodes": {
        "a": node("admin_level_0", ("gid",), ("gid", "name")),
        "b": node("admin_level_1", ("gid",), ("gid", "parent_gid", "name")),
        "c": node("admin_units", ("gid",), ("gid", "parent_gid")),
        "d": node("stg", ("gid",), ("gid",), "staging"),
        "e": relationship("b", "parent_gid", "a"),
        "f": relationship("c", "parent_gid", "c"),
        "g": relationship("b", "name", "d"),
        "h": relationship("d", "gid", "a"),
        "i": {**relationship("b", "name", "a"), "test_metadata": {"name": "unique"}},
        "j": {**relationship("b", "name", "a"), "test_metadata": None},
    }
}


@pytest.fixture
def drawn(settings: Settings, tmp_path: Path) -> list[Path]:
    """Every picture of a small warehouse."""
    built.write(settings.home)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(MANIFEST))
    return pictures.draw(settings, tmp_path / "pictures", manifest, lambda _line: None, print)


def test_every_picture_is_drawn_and_small_and_the_docs_page_becomes_whole(drawn: list[Path], tmp_path: Path) -> None:
    names = {path.name for path in drawn}
    assert names == {"level_0.png", "level_1.png", "timezones.png", "counts.svg", "entities.svg"}  # it has two levels
    assert max(path.stat().st_size for path in drawn) < MOST_BYTES
    with Image.open(next(path for path in drawn if path.name == "level_1.png")) as image:
        assert len(image.convert("RGB").getcolors(100_000) or []) > 5  # units in colours, not an empty frame
    html = tmp_path / "index.html"
    overview = json.dumps({"text": f"{page.LOADED} {page.MAP} {page.TABLES} {page.CONTENT}"})
    html.write_text(f"<head></head><script>x={overview}</script>")
    pictures.finish(html, drawn, 'release "4.1"')
    text = json.loads(html.read_text().partition("x=")[2].partition("</script>")[0])["text"]
    assert text.startswith('release "4.1" ![Map of the units of level 1](data:image/png;base64,')
    assert text.count(";base64,") == len(names)


def test_there_is_no_picture_of_a_level_without_units_and_an_old_one_is_removed(
    settings: Settings, tmp_path: Path
) -> None:
    built.write(settings.home)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(MANIFEST))
    old = tmp_path / "level_3.png"
    old.write_bytes(b"of another release")
    names = {path.name for path in pictures.draw(settings, tmp_path, manifest, lambda _line: None, print)}
    assert "level_1.png" in names
    assert "level_3.png" not in names
    assert not old.exists()


def test_marts_that_were_built_in_part_are_refused(settings: Settings, tmp_path: Path) -> None:
    with duckdb.connect(str(built.write(settings.home))) as connection:
        connection.execute("drop table marts.timezones")
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(MANIFEST))
    with pytest.raises(MartsMissing, match="lack timezones"):
        pictures.draw(settings, tmp_path / "pictures", manifest, print, print)


@pytest.mark.parametrize("wrong", [wrong for wrong, _ in page.FAULTS])
def test_what_is_mended_in_the_page_of_dbt_is_in_it(wrong: str) -> None:
    assert wrong in (importlib.resources.files("dbt.task.docs") / "index.html").read_text(encoding="utf-8")


def test_a_mart_begins_with_its_map_also_in_the_page_that_dbt_serves(drawn: list[Path], tmp_path: Path) -> None:
    html, beside = tmp_path / "static_index.html", tmp_path / "manifest.json"
    nodes = {
        f"model.a.{name}": {"name": name, "resource_type": "model", "description": "Rows."}
        for name in ("admin_level_1", "admin_level_3", "admin_units", "published_runs")
    }
    manifest = json.dumps({"nodes": nodes, "docs": {"overview": f"{page.LOADED} {page.MAP} {page.CONTENT}"}})
    html.write_text(f"<head></head><script>n={{manifest:{manifest},x:1}}")
    beside.write_text(manifest)
    pictures.finish(html, drawn, "release 4.1")
    found = json.loads(beside.read_text())
    assert json.JSONDecoder().raw_decode(html.read_text().partition("manifest:")[2])[0] == found
    said = {name.removeprefix("model.a."): each["description"] for name, each in found["nodes"].items()}
    picture, link, text = said["admin_level_1"].split("\n\n")
    assert picture.startswith("![Map of the units of level 1](data:image/png")
    assert "(http://127.0.0.1:5556/map/#level=1)" in link
    assert text == "Rows."
    assert said["admin_units"].startswith(picture)
    assert said["admin_level_3"].startswith("[On the map]"), "there is no picture of it"
    assert said["published_runs"] == "Rows."
    assert found["docs"]["overview"].startswith("release 4.1 ![Map of the units of level 1](data:image/png")
    assert html.read_text().endswith(",x:1}")


def test_of_stale_marts_pictures_are_drawn_with_a_warning_that_the_docs_page_repeats(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built.write(settings.home)
    built.publish(settings.home, {"gadm": ("run-b", "4.1")})
    monkeypatch.setattr(what_changed, "told", lambda _warehouse: "3.6 → 4.0: 2 new")
    manifest, html = tmp_path / "manifest.json", tmp_path / "index.html"
    manifest.write_text(json.dumps(MANIFEST))
    html.write_text(f"<head></head>{page.LOADED} {page.CONTENT}")
    options = ["--manifest", str(manifest), "--page", str(html)]
    code, _, warned = run_apart("pictures", *options, capsys=capsys, monkeypatch=monkeypatch)
    said = "The marts of gadm are of run run-a (release 4.0), but run run-b (release 4.1) is published."
    assert (code, warned) == (0, f"warning: {said} Run `dbt build`.\n")
    assert said in html.read_text()
    assert json.dumps("**What changed**, 3.6 → 4.0: 2 new.")[1:-1] in html.read_text()


def test_a_page_without_a_place_for_pictures_is_refused(drawn: list[Path], tmp_path: Path) -> None:
    html = tmp_path / "index.html"
    html.write_text("<head></head>")
    with pytest.raises(UsageError, match="has no place for pictures"):
        pictures.finish(html, drawn, "")
    with pytest.raises(UsageError, match="There is no page"):
        pictures.finish(tmp_path / "none.html", drawn, "")


def test_the_overview_has_the_places_of_what_is_loaded_and_of_pictures() -> None:
    overview = (ROOT / "models" / "docs" / "overview.md").read_text()
    for place in (page.LOADED, page.MAP, page.TABLES, page.CONTENT):
        assert f"\n\n{place}\n" in overview


def test_a_frame_cuts_off_no_small_shape_beside_what_it_shows() -> None:
    near, beside, large = [10.5, 4, 12, 5], [12.05, 4, 12.5, 5], [12.4, -50, 60, 50]
    reach = np.array([[0, 0, 10, 10], near, beside, large], float)
    box = maps._frame(reach, np.array([True, False, False, False]))
    assert box == pytest.approx((-0.125, -0.125, 12.625, 10.125))


def test_a_frame_is_not_widened_by_specks() -> None:
    speck, island = shapely.box(90, 0, 90.1, 0.1), shapely.box(20, 0, 22, 2)
    shape = shapely.union_all([shapely.box(0, 0, 10, 10), island, speck])
    assert shapely.bounds(maps._without_specks(shape)).tolist() == [0, 0, 22, 10]
    assert shapely.equals(maps._without_specks(speck), speck)


def test_without_a_manifest_it_says_what_writes_one(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`dbt build`, which writes it"):
        pictures.draw(settings, tmp_path / "pictures", tmp_path / "manifest.json", print, print)


def test_the_diagram_holds_the_marts_that_dbt_declares_and_the_relationships_that_it_tests() -> None:
    found = {entity.name: entity for entity in entities.entities(MANIFEST)}
    assert set(found) == {"admin_level_0", "admin_level_1", "admin_units"}
    assert found["admin_level_1"].rows == [("gid", "key"), ("parent_gid", "→ level 0"), ("and 1 more columns", "")]
    assert found["admin_units"].links == (("parent_gid", "admin_units"),)
    assert len(entities.diagram(MANIFEST).axes) == 1


def test_a_country_on_both_sides_of_the_date_line_is_shown_in_one_piece() -> None:
    units = [
        maps.Unit(gid, "FJI", lon, -17.0, 5000.0, -18.0, -16.0)
        for gid, lon in (("a", 178.5), ("b", 179.6), ("c", -179.7))
    ]
    panel = maps._framed("Fiji", "FJI", units)
    west, _, east, _ = panel.box
    assert east - west < 1_000_000
    assert panel.members == {"a", "b", "c"}


def test_what_lies_far_off_does_not_make_a_speck_of_the_rest() -> None:
    units = [maps.Unit(str(lon), "USA", float(lon), 40.0, 9000.0, 39.5, 40.5) for lon in range(-110, -90)]
    units.append(maps.Unit("Hawaii", "USA", -155.0, 20.0, 9000.0, 19.5, 20.5))
    assert "Hawaii" not in maps._framed("United States", "USA", units).members


def test_a_quarter_that_lies_apart_is_shown_with_the_rest() -> None:
    units = [maps.Unit(str(lon), "KOR", lon / 100, 33.0, 1.0, 32.99, 33.01) for lon in (*range(6), 20, 21)]
    assert len(maps._framed("Jeju", "KOR", units).members) == 8


def drawn_level(settings: Settings, number: int) -> Figure:
    """Draw a level that has units."""
    with open_warehouse(settings) as warehouse:
        figure = maps.level(warehouse, known_marts(warehouse), number)
    assert figure is not None
    return figure


def test_where_many_countries_are_loaded_a_level_is_a_map_of_the_world(settings: Settings) -> None:
    built.write(settings.home, countries=maps.FEW + 1, units=1)
    figure = drawn_level(settings, 1)
    assert len(figure.axes) == 1
    assert figure.dpi == style.DOTS_PER_INCH


def texts(figure: Figure) -> list[str]:
    """Return what is written in a picture."""
    return [text.get_text() for text in [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]]


@pytest.mark.parametrize(("release", "credit"), [("sample", "bundled sample"), ("4.1", "GADM 4.1")])
def test_a_map_says_whose_boundaries_it_shows(settings: Settings, release: str, credit: str) -> None:
    path = built.write(settings.home)
    with duckdb.connect(str(path)) as connection:
        connection.execute("update marts.admin_units set release = ?", [release])
    figure = drawn_level(settings, 1)
    assert [text for text in texts(figure) if text.startswith("Boundaries:") and credit in text]


def test_the_colours_of_offsets_go_round_once_and_the_ends_differ() -> None:
    colours = [style.of_offset(60 * hours) for hours in range(-12, 15)]
    assert len(set(colours)) == len(colours)
    assert style.of_offset(-720) != style.of_offset(0) != style.of_offset(720) != style.of_offset(-720)


def test_labels_of_zones_lie_neither_on_one_another_nor_on_the_frame() -> None:
    zones = [
        maps.Unit(str(at), 60 * at, lon, lat, 9e6, lat - 1, lat + 1)
        for at, (lon, lat) in enumerate([(0.0, 0.0), (0.5, 0.05), (20.0, 0.0), (179.9, 0.0)])
    ]
    figure = style.canvas(9, 5)
    axes = figure.add_axes((0, 0, 1, 1))
    panel = maps._world(zones)
    axes.set(xlim=panel.box[::2], ylim=panel.box[1::2])
    maps._label(figure, panel, zones)
    assert [text.get_text() for text in axes.texts] == ["0", "+2"]


def test_a_few_countries_beside_each_other_fill_the_map(settings: Settings) -> None:
    built.write(settings.home)
    figure = drawn_level(settings, 0)
    west, east = figure.axes[0].get_xlim()
    assert east - west < maps.WORLD_EDGE / 2


def test_the_chart_begins_with_the_country_of_most_units(settings: Settings) -> None:
    path = built.write(settings.home, countries=charts.MOST_COUNTRIES + 2)
    with duckdb.connect(str(path)) as connection:
        connection.execute("update marts.internal_country_counts set unit_count = 4000 where country_gid = 'CAA'")
    with open_warehouse(settings) as warehouse:
        _, countries = charts.counts(warehouse).axes
    names = [label.get_text() for label in countries.get_yticklabels()]
    assert (names[0], len(names)) == ("Land 2", charts.MOST_COUNTRIES)
    assert "4,000" in [text.get_text() for text in countries.texts]


def divided(settings: Settings) -> Figure:
    """Draw a country whose four squares were three units: the first two squares were one, which was split."""
    built.write(settings.home)
    changes_of = [
        ("split", "from", "AAA.9_1", "Whole", None, None, None),
        *(("split", "to", None, None, f"AAA.{number}_1", f"Ünit {number - 1}", 0.5) for number in (1, 2)),
        *(("kept", "both", f"AAA.{number}_1", "Old", f"AAA.{number}_1", "Ünit", 1.0) for number in (3, 4)),
    ]
    with duckdb.connect(str(built.path_of(settings.home))) as connection:
        load_spatial(connection)
        connection.execute("create schema intermediate")
        connection.execute("create table intermediate.int_areas_before (gid text, geom geometry('EPSG:4326'))")
        for gid, west, east in (("AAA.9_1", 0, 2), ("AAA.3_1", 2, 3), ("AAA.4_1", 3, 4)):
            shape = f"ST_Multi(ST_MakeEnvelope({west}, 40, {east}, 41))"
            connection.execute(f"insert into intermediate.int_areas_before select '{gid}', {shape}")
        connection.execute(
            "create table marts.admin_unit_changes (change_type text, unit_of text, from_gid text, from_name text, "
            "to_gid text, to_name text, share_of_from double, from_release text default '1', to_release text "
            "default '2', from_parent_gid text default 'AAA', to_parent_gid text default 'AAA')"
        )
        for change in changes_of:
            values = ", ".join("?" * len(change))
            names = "change_type, unit_of, from_gid, from_name, to_gid, to_name, share_of_from"
            connection.execute(f"insert into marts.admin_unit_changes ({names}) values ({values})", change)
    with open_warehouse(settings) as warehouse:
        return changes.divided(warehouse, 1, ["AAA"])


def test_of_what_was_split_the_ground_keeps_its_colour_and_the_parts_have_their_share(settings: Settings) -> None:
    figure = divided(settings)
    before, now = figure.axes
    headings = [text.get_text() for text in figure.texts]
    assert "Land 0 before (1): 1 unit" in headings
    assert "Land 0 now (2): 2 units" in headings
    assert {text.get_text().replace("\n", " ") for text in before.texts} >= {"Whole"}
    assert {text.get_text().replace("\n", " ") for text in now.texts} >= {"Ünit 0 50%", "Ünit 1 50%"}
    colours = [[to_hex(patch.get_facecolor()) for patch in axes.patches if patch.get_fill()] for axes in figure.axes]
    colour = style.PALETTE[0]
    assert [found.count(colour) for found in colours] == [1, 2]
    assert [found.count(changes.BESIDE) for found in colours] == [2, 2]


def test_a_label_is_broken_into_lines_as_even_as_they_can_be() -> None:
    name = "Lower Connecticut River Valley"
    assert changes.wrapped(name, 1) == [name]
    assert changes.wrapped(name, 2) == ["Lower Connecticut", "River Valley"]
    assert changes.wrapped(name, 3) == ["Lower", "Connecticut", "River Valley"]
    assert changes.wrapped("Capitol", 3) == ["Capitol"]
