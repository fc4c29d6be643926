"""Open datasets load from files of their publishers' schemas, and a file of another dataset is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from ingest import catalog, engines
from ingest.errors import SourceUnavailable, TargetUnavailable, UsageError
from ingest.ledger import Ledger, Request
from ingest.pipeline import adding, refresh, runs
from ingest.sources import http, lookup
from ingest.sources.address import Source
from tests.fixtures import boundaries, publishers
from tests.fixtures.publisher import Publisher, serving
from tests.ingest.conftest import Pipeline
from tests.ingest.test_cli import run
from tests.ingest.test_requests import requests

Listing = Callable[[object], Publisher]
KINDS = ("gdb.zip", "shp.zip", "geojson.zip", "xlsx")


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listing]:
    """Return a function that has every publisher's list of files answer with this JSON or text."""
    with serving(b"") as publisher:

        def answer(body: object) -> Publisher:
            publisher.body = (body if isinstance(body, str) else json.dumps(body)).encode()
            return publisher

        ask = http.ask

        def ask_here(source: Source, *values: Any, **options: Any) -> tuple[str, bytes]:
            return ask(Source(re.sub("https://[^/]+/", publisher.url(""), source.location)), *values, **options)

        monkeypatch.setattr(http, "ask", ask_here)
        yield answer


def loaded(pipeline: Pipeline, *sources: Path, dataset: str, **values: Any) -> dict[int, list[dict[str, Any]]]:
    """Load files, and return the rows that readers see of each level, ordered by their key."""
    known = catalog.get(dataset)
    run_id = pipeline.run(*sources, dataset=dataset, release=known.default_release, **values)
    assert pipeline.state(run_id) == ("published", None)
    found = {}
    for table in known.tables:
        (key,) = (column.name for column in table.columns if "gid" in column.staged_as)
        files = sorted((pipeline.lake / dataset / "current" / table.name).glob("*.parquet"))
        rows = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
        found[int(table.level or 0)] = sorted(rows, key=lambda row: str(row[key]))
    return found


def texts(row: dict[str, Any], dataset: str, level: int) -> dict[str, str | None]:
    """Return the text columns of a row."""
    return {column.name: row[column.name] for column in catalog.get(dataset).table(level).columns}


def assert_shapes_are_those_of_the_world(rows: dict[int, list[dict[str, Any]]]) -> None:
    """The hole is a hole, the units on the date line are narrow, and all are what was written."""
    for level, found in rows.items():
        wanted = {unit.geometry.normalize().wkb for unit in publishers.units(level)}
        assert {shapely.from_wkb(row["geom"]).normalize().wkb for row in found} == wanted
        assert all(row["is_valid"] for row in found)
        east = [row for row in found if row["min_lon"] == -180 and row["max_lon"] == 180]
        assert [(row["west_lon"], row["east_lon"]) for row in east] == [(176, -176)] * len(east)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_natural_earth_loads_from_its_two_zips(pipeline: Pipeline, tmp_path: Path, engine: str) -> None:
    rows = loaded(pipeline, *publishers.write_naturalearth(tmp_path), dataset="naturalearth", engine=engine)
    assert {level: len(found) for level, found in rows.items()} == {0: 2, 1: 4}
    assert texts(rows[0][1], "naturalearth", 0) == {
        "adm0_a3": "QQB",
        "name": "Dateline Islands",
        "name_long": "Republic of Dateline Islands",
        "formal_en": "The Republic of Dateline Islands",
        "name_alt": None,
        "name_en": "Dateline Islands",
        "type": "Sovereign country",
        "iso_a2_eh": "QB",
        "iso_a3_eh": None,
        "fips": None,
        "wikidataid": "Q2",
    }
    assert texts(rows[1][1], "naturalearth", 1) == {
        "adm1_code": "QQA-101",
        "adm0_a3": "QQA",
        "name": "Lakeland",
        "name_local": "Sjöland",
        "name_alt": "Lakeland Province|Old Lakeland",
        "name_en": "Lakeland",
        "type": "Provins",
        "code_local": None,
        "code_hasc": "QA.LA",
        "iso_3166_2": "QA-2",
        "fips": "QA02",
        "wikidataid": "Q12",
    }
    assert rows[1][0]["name_local"] is None
    assert_shapes_are_those_of_the_world(rows)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_countries_of_cod_load_from_files_of_either_schema(pipeline: Pipeline, tmp_path: Path, engine: str) -> None:
    new = publishers.write_cod(tmp_path / "qqa_admin_boundaries.shp.zip")
    old = publishers.write_old_cod(tmp_path / "qqb_adm.gpkg")
    rows = loaded(pipeline, new, old, dataset="cod", engine=engine)
    assert {level: len(found) for level, found in rows.items()} == {0: 2, 1: 4, 2: 8, 3: 0, 4: 0, 5: 0}
    assert texts(rows[0][0], "cod", 0) == {
        "adm0_pcode": "QA",
        "adm0_name": "Norvia",
        "adm0_name1": "Nörvia",
        "adm0_name2": None,
        "adm0_name3": None,
        "adm0_ref_name": None,
        "adm0alt1": None,
        "iso2": "QA",
        "iso3": "QQA",
        "license_title": None,
        "dataset_source": None,
    }
    assert texts(rows[2][7], "cod", 2) == {
        "adm0_pcode": "QB",
        "adm1_pcode": "QB02",
        "adm2_pcode": "QB0202",
        "adm2_name": "Today North",
        "adm2_name1": None,
        "adm2_name2": None,
        "adm2_name3": None,
        "adm2_ref_name": "Auj.-Nord",
        "adm2alt1": None,
        "license_title": None,
        "dataset_source": None,
    }
    assert_shapes_are_those_of_the_world(rows)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_countries_of_geoboundaries_load_from_a_geojson_for_each_level(
    pipeline: Pipeline, tmp_path: Path, engine: str
) -> None:
    first = boundaries.zip_files(tmp_path / "norvia.zip", publishers.write_geoboundaries(tmp_path / "norvia"))
    second = publishers.write_geoboundaries(tmp_path / "islands", country=1)
    rows = loaded(pipeline, first, *second, dataset="geoboundaries", engine=engine)
    assert {level: len(found) for level, found in rows.items()} == {0: 2, 1: 4, 2: 8, 3: 0, 4: 0, 5: 0}
    assert texts(rows[0][0], "geoboundaries", 0) == {
        "shapegroup": "QQA",
        "shapeid": "37B46913878",
        "shapename": "Norvia",
        "boundarylicense": None,
        "boundarysource": None,
    }
    (north,) = (row for row in rows[1] if row["shapename"] == "Northern Islands")
    assert texts(north, "geoboundaries", 1) == {
        "shapegroup": "QQB",
        "shapeid": "814B46913878",
        "shapename": "Northern Islands",
        "shapeiso": "QB-2",
        "boundarylicense": None,
        "boundarysource": None,
    }
    assert "shapeiso" not in texts(rows[2][0], "geoboundaries", 2)
    assert_shapes_are_those_of_the_world(rows)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_the_world_of_geoboundaries_loads_though_it_has_fewer_columns(
    pipeline: Pipeline, tmp_path: Path, engine: str
) -> None:
    rows = loaded(pipeline, *publishers.write_cgaz(tmp_path), dataset="geoboundaries", engine=engine)
    assert {level: len(found) for level, found in rows.items()} == {0: 2, 1: 4, 2: 8, 3: 0, 4: 0, 5: 0}
    assert (rows[0][1]["shapegroup"], rows[0][1]["shapeid"], rows[1][0]["shapeiso"]) == ("QQB", None, None)
    assert_shapes_are_those_of_the_world(rows)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_tiger_loads_from_a_zip_for_each_level_and_state(pipeline: Pipeline, tmp_path: Path, engine: str) -> None:
    rows = loaded(pipeline, *publishers.write_tiger(tmp_path), dataset="tiger", engine=engine)
    assert {level: len(found) for level, found in rows.items()} == {1: 4, 2: 8, 3: 12}
    assert texts(rows[1][1], "tiger", 1) == {"geoid": "91", "statefp": "91", "name": "Lakeland", "stusps": "LA"}
    assert texts(rows[2][3], "tiger", 2) == {
        "geoid": "91003",
        "statefp": "91",
        "countyfp": "003",
        "name": "Lakes",
        "namelsad": "Lakes County",
    }
    assert texts(rows[3][3], "tiger", 3) == {
        "geoid": "9100390002",
        "statefp": "91",
        "countyfp": "003",
        "name": "Lakes 2",
        "namelsad": "Lakes 2 town",
    }
    assert_shapes_are_those_of_the_world({1: rows[1], 2: rows[2]})
    assert rows[1][1]["area_km2"] == pytest.approx(rows[2][2]["area_km2"] + rows[2][3]["area_km2"])


def test_the_parent_of_a_subdivision_is_joined_from_the_parts_of_its_key() -> None:
    assert catalog.get("tiger").table(3).joined == (("gid_2", ("statefp", "countyfp")),)
    assert catalog.get("tiger").table(2).joined == ()


def test_the_subdivisions_of_tiger_are_a_file_for_each_state() -> None:
    (request,) = requests("tiger", levels=(1, 3), releases={"tiger": ["2024"]})
    names = [source.rpartition("/")[2] for source in request.sources]
    assert (len(names), names[0]) == (57, "tl_2024_us_state.zip")
    assert (names[1], names[-1]) == ("tl_2024_01_cousub.zip", "tl_2024_78_cousub.zip")


def test_the_newest_year_of_tiger_is_the_highest_that_is_listed(listing: Listing) -> None:
    listing('<a href="TIGER2008/"> <a href="TIGER2025/"> <a href="TIGER2024/"> <a href="TIGER_RD18/">')
    where = catalog.get("tiger").latest
    assert where is not None
    assert refresh.latest(where) == "2025"


@pytest.mark.parametrize(("release", "announced"), [("current", []), ("6.0.0", []), ("5.0.0", ["6.0.0"])])
def test_no_release_is_newer_than_what_the_publisher_has_now(
    request_of: Callable[..., Request], release: str, announced: list[str]
) -> None:
    found = refresh._check_newer_release(catalog.get("geoboundaries"), request_of("geoboundaries", release=release))
    assert [finding.newest for finding in found] == announced


def test_the_levels_of_a_country_are_those_that_its_publisher_lists(listing: Listing) -> None:
    folder = "https://github.com/wmgeolab/geoBoundaries/raw"
    files = [f"{folder}/9469f09/releaseData/gbOpen/TGO/ADM{n}/geoBoundaries-TGO-ADM{n}.geojson" for n in range(3)]
    simplified = files[0].replace(".geojson", "_simplified.geojson")
    later = files[0].replace("9469f09", "0badc0de")
    listing([{"gjDownloadURL": each, "x": {"gjDownloadURL": later}} for each in (*files, simplified)])
    assert requests("geoboundaries", countries=("TGO",))[0].sources == tuple(files)
    assert requests("geoboundaries", countries=("TGO",), levels=(1, 2))[0].sources == tuple(files[1:])
    assert requests("geoboundaries", countries=("TGO",), levels=(0,))[0].sources == (files[0],)
    current = requests("geoboundaries", countries=("TGO",), releases={"geoboundaries": ["current"]})[0]
    assert current.sources == (files[0], later, *files[1:])


def test_the_files_of_a_country_are_those_that_its_publisher_lists(listing: Listing) -> None:
    folder = "https://data.humdata.org/dataset/d/resource"
    resources = [f"{folder}/{number}/download/tgo_admin_boundaries.{kind}" for number, kind in enumerate(KINDS)]
    asked = listing({"result": {"resources": [{"name": "x", "download_url": each} for each in resources]}})
    (request,) = requests("cod", countries=("TGO",))
    assert (request.sources, request.scope) == ((resources[1],), "countries")
    assert [each.path for each in asked.asked] == ["/api/3/action/package_show?id=cod-ab-tgo"]


def test_what_a_publisher_says_of_a_file_goes_with_its_request(listing: Listing) -> None:
    folder = "https://github.com/wmgeolab/geoBoundaries/raw/9469f09/releaseData/gbOpen/TGO"
    levels = [f"{folder}/ADM{n}/geoBoundaries-TGO-ADM{n}.geojson" for n in range(3)]
    answer: list[dict[str, Any]] = [
        {"gjDownloadURL": levels[0], "boundaryLicense": " CC BY 4.0\n", "boundarySource": "OCHA,\n INSEED"},
        {"gjDownloadURL": levels[1], "boundaryLicense": "ODbL " * 1000, "boundarySource": ["no text"]},
        {"gjDownloadURL": levels[2], "boundaryLicense": "", "unknown": {"boundaryLicense": "of something else"}},
    ]
    listing(answer)
    (request,) = requests("geoboundaries", countries=("TGO",))
    assert request.listed[0] == (("boundarylicense", "CC BY 4.0"), ("boundarysource", "OCHA, INSEED"))
    ((name, text),) = request.listed[1]
    assert (name, text[:9], len(text)) == ("boundarylicense", "ODbL ODbL", lookup.MAX_TEXT)
    assert request.listed[2] == ()
    assert Request.from_json(request.to_json()) == request
    answer[0]["boundaryLicense"] = "CC0"
    listing(answer)
    (later,) = requests("geoboundaries", countries=("TGO",))
    assert later.identity(["1"] * 3) != request.identity(["1"] * 3)
    (other,) = requests("geoboundaries", sources={"geoboundaries": ["/a.geojson"]})
    assert other.listed == ()


def test_what_is_said_of_all_files_of_a_country_is_said_of_each(listing: Listing) -> None:
    files = [{"download_url": "https://data.humdata.org/x/tgo_admin_boundaries.shp.zip"}]
    listing({"result": {"license_title": "CC BY-IGO", "dataset_source": "INSEED", "resources": files}})
    (request,) = requests("cod", countries=("TGO",))
    assert request.listed == ((("license_title", "CC BY-IGO"), ("dataset_source", "INSEED")),)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_the_licence_of_a_file_is_in_each_of_its_rows(pipeline: Pipeline, tmp_path: Path, engine: str) -> None:
    countries, regions, _ = publishers.write_geoboundaries(tmp_path)
    said = ((("boundarylicense", "It's CC BY 4.0 [igo]"), ("boundarysource", "OCHA")), ())
    rows = loaded(pipeline, countries, regions, dataset="geoboundaries", engine=engine, listed=said)
    assert [(row["boundarylicense"], row["boundarysource"]) for row in rows[0]] == [("It's CC BY 4.0 [igo]", "OCHA")]
    assert [(row["boundarylicense"], row["boundarysource"]) for row in rows[1]] == [(None, None)] * 2


def test_a_country_that_is_added_has_its_own_licence(pipeline: Pipeline, tmp_path: Path, ledger: Ledger) -> None:
    first = publishers.write_geoboundaries(tmp_path / "first")[0]
    second = publishers.write_geoboundaries(tmp_path / "second", country=1)[0]
    said = [((("boundarylicense", text),),) for text in ("CC0", "ODbL")]
    base = ledger.run(pipeline.run(first, dataset="geoboundaries", release="6.0.0", listed=said[0]))
    request = adding.prepared(
        ledger,
        pipeline.make_request("geoboundaries", str(second), release="6.0.0", listed=said[1], is_added=True),
        base,
    )
    pipeline.tasks.submit(ledger, ledger.create_run(request, None, base=base))
    files = (pipeline.lake / "geoboundaries" / "current" / "geoboundaries_adm_0").glob("*.parquet")
    rows = pa.concat_tables([pq.read_table(file) for file in files])
    assert sorted(zip(rows["shapegroup"].to_pylist(), rows["boundarylicense"].to_pylist(), strict=True)) == [
        ("QQA", "CC0"),
        ("QQB", "ODbL"),
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"result": {"resources": []}}, "lists no file as it is expected. The first are: none."),
        ({"download_url": "https://data.humdata.org/x/old.zip"}, "The first are: old.zip."),
        ({"download_url": "https://elsewhere.org/x/tgo_admin_boundaries.shp.zip"}, "lists no file"),
        ({"download_url": "http://data.humdata.org/x/tgo_admin_boundaries.shp.zip"}, "lists no file"),
        ({"download_url": "/etc/tgo_admin_boundaries.shp.zip"}, "lists no file"),
        ({"download_url": ["https://data.humdata.org/x/tgo_admin_boundaries.shp.zip"]}, "lists no file"),
        ("<html>", "did not answer with JSON"),
        ("[" * 100_000, "did not answer with JSON"),
    ],
)
def test_a_list_without_the_expected_file_is_told_and_nothing_of_it_is_fetched(
    listing: Listing, answer: object, message: str
) -> None:
    listing(answer)
    with pytest.raises(SourceUnavailable, match=re.escape(message)) as told:
        requests("cod", countries=("TGO",))
    assert "give it with --source" in told.value.hint


def test_a_list_without_end_is_not_read_to_its_end(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MAX_BYTES", 100)
    listing("x" * 200)
    with pytest.raises(SourceUnavailable, match="answered more than 100 bytes"):
        requests("cod", countries=("TGO",))


@pytest.mark.parametrize("dataset", ["naturalearth", "cod", "geoboundaries", "tiger"])
def test_a_file_of_another_dataset_is_refused(pipeline: Pipeline, tmp_path: Path, dataset: str) -> None:
    release = catalog.get(dataset).default_release
    own = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    state, error = pipeline.state(pipeline.run(own, dataset=dataset, release=release))
    assert state == "failed"
    assert f"has no layer of {dataset}" in str(error)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("naturalearth", {"levels": (0, 2)}, r"naturalearth has no level 2\. Levels: 0-1\."),
        ("naturalearth", {"countries": ("TGO",)}, r"naturalearth 5\.1\.2 has no per-country files\. Leave --country"),
        ("cod", {}, r"cod current has no file of the whole world\. Choose countries with --country, or give a file"),
        ("cod", {"levels": (6,)}, r"cod has no level 6\. Levels: 0-5\."),
        ("cod", {"countries": ("TGO",), "sources": {"cod": ["/a"]}}, "--country and --source exclude each other"),
        ("tiger", {"levels": (0, 1)}, r"tiger has no level 0\. Levels: 1-3\."),
        ("tiger", {"releases": {"tiger": ["2010"]}}, r"tiger has no release '2010'"),
        ("tiger", {"countries": ("USA",)}, r"tiger 2025 has no per-country files\. Leave --country out"),
        ("naturalearth", {"releases": {"naturalearth": ["5.1"]}}, r"naturalearth has no release '5\.1'"),
    ],
)
def test_options_are_checked_as_for_any_dataset(dataset: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        requests(dataset, **options)


def test_only_the_files_of_the_levels_that_are_loaded_are_fetched() -> None:
    (request,) = requests("naturalearth", levels=(1,))
    assert (request.scope, request.levels) == ("world", (1,))
    assert [source.rpartition("/")[2] for source in request.sources] == ["ne_10m_admin_1_states_provinces.zip"]


def test_a_shapefile_of_another_dataset_is_refused_by_its_name(pipeline: Pipeline, tmp_path: Path) -> None:
    states, *_ = publishers.write_tiger(tmp_path)
    state, error = pipeline.state(pipeline.run(states, dataset="naturalearth", release="5.1.2"))
    assert state == "failed"
    assert "shapefiles of other names: tl_2025_us_state.shp. Is the file of this dataset" in str(error)


def listed(printed: str) -> dict[str, dict[str, str]]:
    """Return what `datasets` printed: of each dataset, each line by its name, put together again."""
    found: dict[str, dict[str, str]] = {}
    name = what = ""
    for line in printed.splitlines():
        name, what = line[:15].strip() or name, line[15:28].strip() or what
        lines = found.setdefault(name, {})
        lines[what] = f"{lines.get(what, '')} {line[28:].strip()}".strip()
    return found


def test_all_datasets_are_listed_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, printed = run("datasets", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0
    assert max(map(len, printed.splitlines())) <= 80
    found = listed(printed)
    assert list(found) == list(catalog.datasets())
    assert found["tiger"]["releases"] == "2025 (default) and others like it, sample, sample-2023"
    assert found["gadm"]["releases"] == "4.1 (default), 3.6, sample"
    newest = catalog.get("overture").default_release
    assert found["overture"]["releases"] == f"the newest, such as {newest} (default) and others like it"
    assert (found["tiger"]["levels"], found["timezones"]["levels"]) == ("1-3", "none")
    assert found["naturalearth"]["attribution"] == "Made with Natural Earth, naturalearthdata.com"
    assert found["cod"]["licence"].startswith("Differs by country, most often CC BY-IGO:")
    assert {lines["loaded"] for lines in found.values()} == {"nothing"}


def test_what_is_loaded_of_a_dataset_is_listed(
    pipeline: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    files = publishers.write_naturalearth(tmp_path)
    run_id = pipeline.run(*files, dataset="naturalearth", release="5.1.2", scope="world")
    found = listed(run("datasets", capsys=capsys, monkeypatch=monkeypatch)[1])
    assert found["naturalearth"]["loaded"] == f"5.1.2, the world: 6 rows by run {run_id}"
    assert found["gadm"]["loaded"] == "nothing"


def test_datasets_are_listed_where_the_target_does_not_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise TargetUnavailable("The ledger does not answer.", "Is the server running?")

    monkeypatch.setattr(runs, "open_target", fail)
    code, printed = run("datasets", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0
    assert "What is loaded is not known. The ledger does not answer. Is the server running?" in printed
    assert printed.count("not known") == 1 + len(catalog.datasets())
