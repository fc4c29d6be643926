"""Overture's divisions load from the files of a release: the rows say their levels, and points are units."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from ingest import catalog, console, engines
from ingest.errors import SourceUnavailable, UsageError
from ingest.ledger import Request
from ingest.pipeline import refresh
from ingest.pipeline import runs as loading
from ingest.sources import http
from ingest.sources.address import Source
from tests.conftest import ROOT, SHARED_DATA
from tests.fixtures import overture, publishers
from tests.fixtures.publisher import Publisher, serving
from tests.ingest.conftest import Pipeline
from tests.ingest.test_publishers import loaded
from tests.ingest.test_requests import requests

Rows = dict[int, list[dict[str, Any]]]
LATEST = '{"links": [{"href": "./2026-09-23.0/catalog.json", "latest": true}], "latest": "2026-09-23.0"}'
BLOBS = "<Blob><Name>{0}/theme=divisions/type={1}/part-0000{2}-ab.c000.zstd.parquet</Name></Blob>"
RELEASE = catalog.get("overture").default_release
FOLDER = "https://overturemapswestus2.blob.core.windows.net/release"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Publisher]]:
    """Return a function that has Overture's server list these files; its catalog says which release is the newest."""
    known: dict[str, bytes] = {}
    with serving(b"") as publisher:

        def answer(listed: str) -> Publisher:
            known.update({"/catalog.json": LATEST.encode(), "/release": listed.encode()})
            return publisher

        ask = http.ask

        def ask_here(source: Source, *values: Any, **options: Any) -> tuple[str, bytes]:
            publisher.body = known[re.sub(r"^https://[^/]+|[?].*$", "", source.location)]
            return ask(Source(re.sub("https://[^/]+/", publisher.url(""), source.location)), *values, **options)

        monkeypatch.setattr(http, "ask", ask_here)
        yield answer


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The folders of a release."""
    return overture.write_overture(tmp_path / "2026-08-19.0")


@pytest.fixture
def any_release(tmp_path: Path) -> Path:
    """Hong Kong's real divisions where they are at hand, invented ones elsewhere."""
    real = SHARED_DATA / "overture"
    return real if real.is_dir() else overture.write_overture(tmp_path / "2026-08-19.0")


def of(rows: Rows, layer: str) -> dict[str, dict[str, Any]]:
    """Return the rows of one layer, whatever their level, by key."""
    return {row["id"]: row for found in rows.values() for row in found if row["source_layer"] == layer}


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_divisions_and_areas_load_into_the_table_of_their_level(pipeline: Pipeline, release: Path, engine: str) -> None:
    rows = loaded(pipeline, release, dataset="overture", engine=engine)
    found = {level: {row["id"] for row in each if row["source_layer"] == "division"} for level, each in rows.items()}
    assert found == overture.keys_by_level()
    known = overture.divisions()
    areas = of(rows, "division_area")
    assert len(areas) == sum(each.has_area and each.subtype != "macroregion" for each in known.values()) + 3
    assert {row["is_land"] for row in areas.values()} == {"true", "false"}
    for key, row in areas.items():
        wanted = known[row["division_id"]].area if key.endswith("land-1") and row["division_id"] in known else None
        assert wanted is None or shapely.from_wkb(row["geom"]).equals(wanted)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_names_codes_and_ancestors_are_taken_from_nested_columns(
    pipeline: Pipeline, release: Path, engine: str
) -> None:
    rows = loaded(pipeline, release, dataset="overture", engine=engine)
    divisions = of(rows, "division")
    columns = [column.name for column in catalog.get("overture").table(4).columns]
    assert {name: divisions["oldshore"][name] for name in columns} == {
        "id": "oldshore",
        "division_id": None,
        "parent_division_id": "shore",
        "gid_0": "norvia",
        "gid_1": "lakeland",
        "gid_2": None,
        "gid_3": None,
        "gid_4": "shore",
        "name": "Old Shore",
        "names_common": "Old Shore|Old Shores land",
        "names_rules": None,
        "subtype": "locality",
        "class": "village",
        "local_type": "locality|localityen",
        "country": "QA",
        "region": "QA-LA",
        "wikidata": "Q9",
        "is_land": None,
        "is_territorial": None,
        "source_datasets": "OpenStreetMap",
        "source_licences": "ODbL-1.0",
    }
    assert divisions["norvia"]["names_rules"] == "Nor"
    assert [divisions["village"][f"gid_{level}"] for level in range(5)] == [
        "norvia",
        "west",
        "lower",
        "parish",
        "village",
    ]
    assert divisions["isle3"]["gid_0"] == "islands"
    assert divisions["quay"]["gid_4"] == "shore"


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("is_validated", [True, False])
def test_a_division_keeps_its_point_and_has_no_area(
    pipeline: Pipeline, release: Path, engine: str, is_validated: bool
) -> None:
    rows = loaded(pipeline, release, dataset="overture", engine=engine, is_validated=is_validated)
    known = overture.divisions()
    for key, row in of(rows, "division").items():
        point = shapely.point_on_surface(known[key].area)
        facts = {name: row[name] for name, _ in (*engines.FACTS, ("geom", None))}
        assert {name: value for name, value in facts.items() if value is not None} == {
            "point_lon": point.x,
            "point_lat": point.y,
            **({"is_valid": True} if is_validated else {}),
        }


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_one_file_with_rows_of_both_types_gives_the_same_rows(
    pipeline: Pipeline, release: Path, tmp_path: Path, engine: str
) -> None:
    def rounded(value: object) -> object:
        return f"{value:.9g}" if isinstance(value, float) else value

    origin = {"run_id", *(name for name, _ in engines.ORIGIN)}

    def content(*sources: Path) -> dict[tuple[int, str], dict[str, Any]]:
        rows = loaded(pipeline, *sources, dataset="overture", engine=engine)
        return {
            (level, row["id"]): {name: rounded(value) for name, value in row.items() if name not in origin}
            for level, found in rows.items()
            for row in found
        }

    assert content(release) == content(overture.write_extract(tmp_path / "all.parquet"))


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_every_ancestor_and_every_division_of_an_area_is_there(
    pipeline: Pipeline, any_release: Path, engine: str
) -> None:
    rows = loaded(pipeline, any_release, dataset="overture", engine=engine)
    divisions = of(rows, "division")
    levels = {row["id"]: level for level, found in rows.items() for row in found}
    for level, found in rows.items():
        for row in found:
            named = {above: row[f"gid_{above}"] for above in range(level) if row[f"gid_{above}"]}
            assert all(levels[key] == above for above, key in named.items())
            assert row["source_layer"] == "division_area" or level == 0 or 0 in named
    missing = {row["division_id"] for row in of(rows, "division_area").values()} - divisions.keys()
    assert missing <= {"gone"}
    assert all(row["point_lon"] is not None and row["geom"] is None for row in divisions.values())


def test_rows_between_two_levels_are_passed_over_and_counted(
    pipeline: Pipeline, release: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        loaded(pipeline, release, dataset="overture")
    assert "part-00000-1a.c000.zstd.parquet: passed over rows of the subtype macroregion: 1." in caplog.messages
    assert any("passed over layers of other names: part-00000-3c.c000.zstd" in text for text in caplog.messages)


def test_a_subtype_that_is_not_known_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    path = overture.write_extract(tmp_path / "all.parquet")
    table = pq.read_table(path)
    subtypes = ["canton" if text == "county" else text for text in table["subtype"].to_pylist()]
    position = table.schema.get_field_index("subtype")
    pq.write_table(table.set_column(position, "subtype", pa.array(subtypes)), path)
    state, error = pipeline.state(pipeline.run(path, dataset="overture", release="2026-08-19.0"))
    assert state == "failed"
    assert "7 rows of all.parquet have the subtype canton, of no known level" in str(error)


def test_a_file_of_divisions_without_their_parents_is_refused(pipeline: Pipeline, release: Path) -> None:
    path = next(release.glob("*/type=division/*00000*"))
    table = pq.read_table(path, partitioning=None)
    renamed = table.rename_columns({"parent_division_id": "parent"}).replace_schema_metadata(table.schema.metadata)
    pq.write_table(renamed, path)
    state, error = pipeline.state(pipeline.run(release, dataset="overture", release="2026-08-19.0"))
    assert (state, "has no column parent_division_id" in str(error)) == ("failed", True)


def test_only_the_levels_that_are_wanted_are_loaded(pipeline: Pipeline, release: Path) -> None:
    rows = loaded(pipeline, release, dataset="overture", levels=(0, 4))
    assert {level: len(found) for level, found in rows.items()} == {0: 5, 1: 0, 2: 0, 3: 0, 4: 8, 5: 0}


@pytest.mark.slow
@pytest.mark.usefixtures("settings")
def test_a_release_loads_by_the_command(release: Path) -> None:
    command = [sys.executable, "-m", "ingest", "overture", "--source", str(release), "--workers", "1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"overture_adm_5 +5 ", ended.stdout + ended.stderr)


def test_the_files_of_the_newest_release_are_those_that_their_server_lists(
    answers: Callable[[str], Publisher],
) -> None:
    kinds = [("division", 0), ("division", 1), ("division_area", 0), ("division_boundary", 0)]
    other = BLOBS.format("2026-09-23x0", "division", 7)
    asked = answers("".join(BLOBS.format("2026-09-23.0", *kind) for kind in kinds) + other + "<NextMarker />")
    (request,) = requests("overture")
    assert (request.release, request.scope) == ("2026-09-23.0", "world")
    assert request.sources == tuple(
        f"{FOLDER}/2026-09-23.0/theme=divisions/type={kind}/part-0000{number}-ab.c000.zstd.parquet"
        for kind, number in kinds[:3]
    )
    assert [each.path for each in asked.asked] == [
        "/catalog.json",
        "/release?restype=container&comp=list&prefix=2026-09-23.0/theme=divisions/type=division",
    ]
    named = answers(BLOBS.format("2026-08-19.0", "division", 0))
    (request,) = requests("overture", releases={"overture": ["2026-08-19.0"]})
    assert (request.release, len(request.sources)) == ("2026-08-19.0", 1)
    assert named is asked


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("<html>", "lists no file of overture 2026-09-23.0"),
        (BLOBS.format("2026-08-19.0", "division", 0), "lists no file of overture 2026-09-23.0"),
        (
            f"{BLOBS.format('2026-09-23.0', 'division', 0)}<NextMarker>2!ab</NextMarker>",
            "lists only a part of the files",
        ),
    ],
)
def test_a_list_of_files_that_lacks_some_is_told(
    answers: Callable[[str], Publisher], listed: str, message: str
) -> None:
    answers(listed)
    with pytest.raises(SourceUnavailable, match=message):
        requests("overture")


def test_files_at_hand_are_loaded_without_asking_anyone(answers: Callable[[str], Publisher]) -> None:
    asked = answers("")
    (request,) = requests("overture", sources={"overture": ["/a/release"]})
    assert (request.release, request.scope) == (catalog.get("overture").default_release, "custom")
    assert asked.asked == []


def test_of_countries_the_files_of_the_world_are_read_and_only_their_rows_are_loaded(
    answers: Callable[[str], Publisher],
) -> None:
    answers(BLOBS.format("2026-09-23.0", "division", 0))
    (request,) = requests("overture", countries=("TGO", "HKG"))
    assert (request.scope, request.release, request.only_countries) == ("countries", "2026-09-23.0", ("TG", "HK"))
    assert Request.from_json(request.to_json()) == request
    (of_others,) = requests("overture", countries=("TGO",))
    assert request.identity(["v"]) != of_others.identity(["v"])
    with pytest.raises(UsageError, match="QQQ is not the code of a country"):
        requests("overture", countries=("QQQ",))


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_rows_of_other_countries_are_left_out(pipeline: Pipeline, release: Path, engine: str) -> None:
    rows = loaded(pipeline, release, dataset="overture", engine=engine, only_countries=("QB",))
    assert {row["country"] for each in rows.values() for row in each} == {"QB"}
    assert set(of(rows, "division")) == {
        key for key, each in overture.divisions().items() if "islands" in (key, *each.above)
    }


def test_a_country_without_rows_is_told(pipeline: Pipeline, release: Path) -> None:
    state, error = pipeline.state(pipeline.run(release, dataset="overture", release=RELEASE, only_countries=("TG",)))
    assert (state, "No row is of the country TG" in str(error)) == ("failed", True)


def test_a_country_is_replaced_and_the_others_are_kept(
    pipeline: Pipeline, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.run(release, dataset="overture", release=RELEASE)
    monkeypatch.setattr(
        loading, "_see_through", lambda _settings, ledger, _reporter, ids, **_: [pipeline.tasks.submit(ledger, *ids)]
    )
    of_islands = {"release": RELEASE, "only_countries": ("QB",), "is_added": True}
    loading.start([pipeline.make_request("overture", str(release), **of_islands)], console, workers=1)
    files = sorted((pipeline.lake / "overture" / "current" / "overture_adm_1").glob("*.parquet"))
    rows = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
    assert {(row["country"], row["file_no"]) for row in rows} == {("QA", 0), ("QB", 1)}


def test_a_newer_release_is_loaded_by_refresh(
    answers: Callable[[str], Publisher], request_of: Callable[..., Request]
) -> None:
    answers(BLOBS.format("2026-09-23.0", "division_area", 0))
    published = request_of("overture", release="2026-08-19.0", scope="world")
    (found,) = refresh._check_newer_release(catalog.get("overture"), published)
    assert found.verdict is refresh.Verdict.NEW_RELEASE
    assert found.request is not None
    assert [source.rpartition("/")[2] for source in found.request.sources] == ["part-00000-ab.c000.zstd.parquet"]
    answers("")
    (found,) = refresh._check_newer_release(catalog.get("overture"), published)
    assert (found.verdict, found.request) == (refresh.Verdict.UNREACHABLE, None)


def test_a_file_of_another_dataset_has_no_layer_of_overture(pipeline: Pipeline, tmp_path: Path) -> None:
    (geojson, *_) = publishers.write_geoboundaries(tmp_path)
    state, error = pipeline.state(pipeline.run(geojson, dataset="overture", release="2026-08-19.0"))
    assert (state, "has no layer of overture" in str(error)) == ("failed", True)
