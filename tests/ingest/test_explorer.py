"""What the map says of units, and its files; the page itself is tested in a browser, see `test_pages`."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from starlette.requests import Request
from starlette.routing import Route

from admin_boundaries.explorer import details, site
from admin_boundaries.warehouse import known_marts, open_warehouse
from ingest import catalog
from ingest.dashboard.explorer import Explorer
from ingest.errors import UsageError
from ingest.settings import Settings
from tests.fixtures import mapped
from tests.fixtures import marts as built

UNITS = 3  # in a file, so that there are several


@pytest.fixture
def warehouse(settings: Settings) -> Settings:
    """An embedded target with invented units, their names and neighbours."""
    path = mapped.write(settings.home)
    built.add_lookups(settings.home)
    with duckdb.connect(str(path)) as connection:
        connection.execute("alter table marts.admin_level_0 add column west_lon double")
        connection.execute("alter table marts.admin_level_0 add column east_lon double")
        connection.execute(
            "update marts.admin_level_0 set min_lon = -180, max_lon = 180, west_lon = 179, east_lon = -179, "
            "min_lat = -18, max_lat = -17 where gid = 'DAT'"
        )
        connection.execute(
            "create table marts.admin_unit_ancestors as select * from (values ('AAA.2_1', 'AAA', 0), "
            "('AAA.2_1', 'AAA.2_1', 1)) as rows (gid, ancestor_gid, ancestor_level)"
        )
        connection.execute(
            "create table marts.admin_unit_neighbours as select * from (values ('AAA.2_1', 'AAA.3_1', 5.0), "
            "('AAA.2_1', 'AAA.1_1', 50.0)) as rows (gid, neighbour_gid, border_km)"
        )
        for mart in ("admin_anomalies", "admin_unit_codes"):
            connection.execute(f"drop table marts.{mart}")
    return settings


def test_a_unit_says_where_it_lies_and_its_longest_borders_first(warehouse: Settings) -> None:
    with open_warehouse(warehouse) as marts:
        (unit,) = details.of_units(marts, known_marts(marts), ["AAA.2_1", "none"])
    assert unit["chain"] == [["AAA", "Ünit AAA", 0], ["AAA.2_1", "Ünit AAA.2_1", 1]]
    assert unit["neighbours"] == [["AAA.1_1", "Ünit AAA.1_1"], ["AAA.3_1", "Ünit AAA.3_1"]]
    assert "codes" not in unit
    assert "faults" not in unit


def test_a_unit_says_its_primary_zone_first_and_then_those_with_most_of_it(warehouse: Settings) -> None:
    with duckdb.connect(str(warehouse.warehouse)) as connection:
        connection.execute(
            "update marts.admin_unit_timezones set area_share = 0.3 where gid = 'AAA.2_1'; "
            "insert into marts.admin_unit_timezones (gid, tzid, is_primary, is_border_sliver, area_share) values "
            "('AAA.2_1', 'Etc/A', false, false, 0.1), ('AAA.2_1', 'Etc/B', false, false, 0.6), "
            "('AAA.2_1', 'Etc/C', false, true, 0.0001)"
        )
    with open_warehouse(warehouse) as marts:
        (unit,) = details.of_units(marts, known_marts(marts), ["AAA.2_1"])
    assert unit["zones"] == [["Etc/East", 0.3], ["Etc/B", 0.6], ["Etc/A", 0.1]]


def test_a_unit_says_what_it_was_in_the_release_before(warehouse: Settings) -> None:
    with duckdb.connect(str(warehouse.warehouse)) as connection:
        connection.execute(
            "create table marts.admin_unit_changes as select * from (values "
            "('AAA.2_1', 'AAA.9_1', 'Old', 'both', 'split', '1'), "
            "('AAA.1_1', 'AAA.1_1', 'First', 'both', 'renamed', '1'), "
            "('AAA.3_1', 'AAA.3_1', 'Third', 'both', 'kept', '1'), "
            "('AAA.1_1', 'AAA.8_1', 'Gone', 'from', 'gone', '1')) "
            "as rows (to_gid, from_gid, from_name, unit_of, change_type, from_release)"
        )
        connection.execute(
            "create table marts.admin_unit_crosswalk as select * from (values "
            "('AAA.2_1', 'AAA.9_1', 0.7::double, false, 1, 1, 1), ('AAA.2_1', 'AAA.1_1', 0.3, false, 1, 1, 1), "
            "('AAA.2_1', 'AAA.3_1', 0.001, true, 1, 1, 1), ('AAA.2_1', 'AAA.3_1', 1.0, false, 2, 1, 1)) "
            "as rows (to_gid, from_gid, share_of_to, is_sliver, admin_level, from_level, to_level)"
        )
    with open_warehouse(warehouse) as marts:
        known = known_marts(marts)
        units = {unit["gid"]: unit.get("change") for unit in details.of_units(marts, known, list(mapped.land()))}
        listed = site.lists(marts, known)
    assert units.pop("AAA.2_1") == ["split", "1", [["AAA.9_1", "Old", 0.7], ["AAA.1_1", "First", 0.3]]]
    assert units.pop("AAA.1_1") == ["renamed", "1", [["AAA.1_1", "First", None]]]
    assert set(units.values()) == {None}
    assert {kind: (found["count"], found["units"][0]["gid"]) for kind, found in listed["change"].items()} == {
        "split": (1, "AAA.2_1"),
        "renamed": (1, "AAA.1_1"),
    }
    assert listed["anomaly"] == {}


@pytest.mark.parametrize(
    ("spans", "around"),
    [
        ([(-125, -66), (-8, 12)], (-125, 12)),
        ([(172, -66)], (172, 294)),
        ([(172, -66), (-8, 12)], (172, 372)),
        ([(170, 175), (-160, -150)], (170, 210)),
        ([(-180, 180)], (-180, 180)),
        ([(0, 130), (120, -110), (-120, 5)], (-180, 180)),
        ([], (-180, 180)),
    ],
)
def test_the_map_begins_with_the_shortest_span_that_shows_all(
    spans: list[tuple[float, float]], around: tuple[float, float]
) -> None:
    assert site._around(spans) == around


def test_the_box_of_a_unit_at_the_date_line_goes_across_it(warehouse: Settings) -> None:
    with open_warehouse(warehouse) as marts:
        (unit,) = details.of_units(marts, known_marts(marts), ["DAT"])
    assert unit["box"] == [179.0, -18.0, 181.0, -17.0]


def write(settings: Settings, folder: Path, *, overwrite: bool = False) -> list[str]:
    return site.write(
        settings,
        folder,
        overwrite=overwrite,
        of_datasets=catalog.rights_of_datasets(),
        progress=lambda _share: None,
        warn=pytest.fail,
        warn_of_licences=lambda _text: None,
    )


def test_each_unit_and_name_is_in_the_file_that_the_first_keys_tell(
    warehouse: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "UNITS_IN_FILE", UNITS)
    with duckdb.connect(str(warehouse.warehouse)) as connection:
        connection.execute("update marts.admin_level_0 set name = 'Ünland' where gid = 'AAA'")
    write(warehouse, tmp_path / "map")
    config = json.loads((tmp_path / "map" / "config.json").read_text())
    files = [json.loads((tmp_path / "map" / "units" / f"{n}.json").read_text()) for n in range(len(config["units"]))]
    assert [part[0]["gid"] for part in files] == config["units"]
    assert [unit["gid"] for part in files for unit in part] == sorted(mapped.land())
    assert max(map(len, files)) == UNITS
    countries = [[gid, {"AAA": "Ünland"}.get(gid, gid)] for gid in sorted(mapped.land()) if "." not in gid]
    assert config["countries"] == countries
    assert json.loads((tmp_path / "map" / "names" / "0.json").read_text())[0][0] == config["names"][0] == "land of gadm"
    assert {*site.PAGES, *site.LIBRARY, site.TILES, "lists.json"} <= {
        path.name for path in (tmp_path / "map").iterdir()
    }


def test_codes_are_in_files_of_their_own_as_find_knows_them(
    warehouse: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "NAMES_IN_FILE", 2)
    with duckdb.connect(str(warehouse.warehouse)) as connection:
        connection.execute(
            "create table marts.admin_unit_codes as select * from (values ('AAA.2_1', 'hasc', 'A.B'), "
            "('AAA', 'iso', 'AA'), ('AAA', 'other', 'AA')) as rows (gid, scheme, code)"
        )
        connection.execute("update marts.admin_level_0 set cc_code = case gid when 'ISL' then '07' else 'West' end")
    write(warehouse, tmp_path / "map")
    config = json.loads((tmp_path / "map" / "config.json").read_text())
    files = [json.loads((tmp_path / "map" / "codes" / f"{n}.json").read_text()) for n in range(len(config["codes"]))]
    assert files == [[["07", "ISL"], ["A.B", "AAA.2_1"]], [["AA", "AAA"]]]
    assert config["codes"] == ["07", "AA"]


def test_the_map_offers_the_datasets_that_have_something_to_draw(warehouse: Settings) -> None:
    built.publish(warehouse.home, dict.fromkeys(("gadm", "tiger", "cod", "overture", "timezones"), ("run-a", "1")))
    for name, mart in (("tiger", "admin_units_simplified"), ("cod", "admin_units")):
        with duckdb.connect(str(replace(warehouse, boundaries=name).warehouse)) as connection:
            connection.execute(f"create schema marts_{name}")
            connection.execute(f"create table marts_{name}.{mart} (gid text)")
    explorer = Explorer(warehouse, catalog.rights_of_datasets())
    with open_warehouse(warehouse) as marts:
        assert explorer._mapped(marts) == ["gadm", "tiger"]
    assert {"/gadm", "/tiger", "/config.json"} <= {getattr(route, "path", "") for route in explorer.routes()}


def test_a_folder_that_is_not_empty_stays_as_it_is_unless_told_otherwise(warehouse: Settings, tmp_path: Path) -> None:
    (tmp_path / "map").mkdir()
    (tmp_path / "map" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        write(warehouse, tmp_path / "map")
    assert [path.name for path in (tmp_path / "map").iterdir()] == ["mine.txt"]
    write(warehouse, tmp_path / "map", overwrite=True)
    assert (tmp_path / "map" / "mine.txt").exists()


def test_tiles_are_drawn_when_the_map_is_first_opened_after_a_build(warehouse: Settings) -> None:
    explorer = Explorer(warehouse, catalog.rights_of_datasets())
    folder = warehouse.home / "map"
    folder.mkdir()
    (folder / "older.pmtiles").write_text("of a build before")
    (asked,) = (each.endpoint for each in explorer.routes() if isinstance(each, Route) and each.path == "/config.json")
    request = Request({"type": "http", "query_string": b"", "headers": []})
    answers = [json.loads(bytes(asyncio.run(asked(request)).body))]
    while "drawn" in answers[-1] and len(answers) < 500:
        time.sleep(0.1)
        answers.append(json.loads(bytes(asyncio.run(asked(request)).body)))
    assert 0 <= answers[0]["drawn"] <= 1
    assert answers[-1]["served"]
    (tiles,) = folder.iterdir()
    assert answers[-1]["tiles"] == f"tiles/{tiles.name}"


def test_the_page_names_no_other_host() -> None:
    for path in (each for each in site.pages() if each.name in site.PAGES):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text.replace("archive://", "")
