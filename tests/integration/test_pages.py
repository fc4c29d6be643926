"""The pages in a real browser, at the width of a desk and of a phone, and the files for other programs, on PostGIS."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import geopandas
import pyogrio
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from pyogrio._ogr import _register_drivers

from tests.conftest import ROOT
from tests.integration.conftest import SAMPLE_COUNTS, NewWarehouse, Warehouse

pytestmark = [pytest.mark.servers, pytest.mark.slow]

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WIDTHS = {"desk": (1280, 800), "phone": (390, 844)}
SAMPLE = ("gadm", "timezones", "--release", "sample")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    assert Path(CHROMIUM).is_file(), "Chromium is needed for the tests: run `make servers`."
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield launched
        launched.close()


@contextmanager
def opened(browser: Browser, address: str, width: str) -> Iterator[Page]:
    """Open a page, and check at the end that it complained of nothing and asked for nothing from elsewhere."""
    wide, high = WIDTHS[width]
    page = browser.new_page(viewport={"width": wide, "height": high})
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    elsewhere: list[str] = []
    here = address.split("/")[2]
    page.on("request", lambda request: elsewhere.append(request.url) if here not in request.url[:60] else None)
    page.goto(address)
    yield page
    page.wait_for_load_state()  # a page that was just opened has no width of its own before its style sheet is there
    assert page.evaluate("document.documentElement.scrollWidth") <= wide, "the page is wider than its window"
    complaints = [each for each in complaints if "/events" not in each]  # streams end with their page
    page.close()
    assert complaints == []
    assert [url for url in elsewhere if not url.startswith("data:")] == []


@contextmanager
def dashboard(warehouse: Warehouse) -> Iterator[str]:
    """Serve the dashboard of a warehouse."""
    command = [sys.executable, "-m", "ingest", "dashboard", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=warehouse.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="module")
def watched(new_warehouse: NewWarehouse, browser: Browser) -> Iterator[tuple[Warehouse, dict[str, bool]]]:
    """A warehouse that was loaded while the dashboard was open, and what was seen in it at each width."""
    warehouse, seen = new_warehouse(), {}
    warehouse.ingest("status")
    bad = warehouse.home / "bad.zip"
    bad.write_text("<html>")
    warehouse.ingest("gadm", "--source", str(bad), expect=1)
    with dashboard(warehouse) as address:
        with opened(browser, address, "desk") as desk, opened(browser, address, "phone") as phone:
            pages = {"desk": desk, "phone": phone}
            load = subprocess.Popen(
                [sys.executable, "-m", "ingest", *SAMPLE, "--workers", "1", "--engine", "geopandas"],
                cwd=ROOT,
                env=warehouse.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for width, page in pages.items():
                page.wait_for_selector("#section-running progress", timeout=60_000)
                page.wait_for_selector("#section-workers .state.alive", timeout=60_000)
                seen[width] = page.is_visible("text=of 5,658 rows")
            assert load.wait(120) == 0
            for page in pages.values():
                page.wait_for_selector("#section-running progress", state="detached", timeout=30_000)
                page.wait_for_selector("#section-published >> text=5,658", timeout=30_000)
                assert page.evaluate(
                    "[...document.querySelectorAll('.wide')].every((each) => each.scrollWidth <= each.clientWidth)"
                )
        yield warehouse, seen


def test_a_running_load_is_followed_without_reloading_at_both_widths(
    watched: tuple[Warehouse, dict[str, bool]],
) -> None:
    assert watched[1] == {"desk": True, "phone": True}


def test_an_error_opens_with_its_traceback_and_stays_open(
    watched: tuple[Warehouse, dict[str, bool]], browser: Browser
) -> None:
    with dashboard(watched[0]) as address, opened(browser, address, "phone") as page:
        while not page.locator("details.error[open]").count():  # an update between press and release undoes a click
            page.click("details.error summary")
        page.wait_for_timeout(2500)  # two updates of the page
        assert "Traceback (most recent call last)" in page.inner_text("details.error pre")
        page.click("details.error a")
        page.wait_for_selector("h1 >> text=failed")


def test_a_dataset_is_rolled_back_by_its_button(watched: tuple[Warehouse, dict[str, bool]], browser: Browser) -> None:
    warehouse = watched[0]
    warehouse.ingest(*SAMPLE[1:], "--force")
    now, before = (
        warehouse.one(f"select run_id from raw.ingest_runs where dataset = 'timezones' and state = '{state}'")
        for state in ("published", "superseded")
    )
    with dashboard(warehouse) as address, opened(browser, address, "desk") as page:
        page.click("text=Roll back")
        page.click("text=Yes, roll back")
        page.wait_for_selector("text=readers see the previous publication again")
    assert warehouse.query(
        "select run_id, state from raw.ingest_runs where dataset = 'timezones' order by run_id"
    ) == sorted([(now, "superseded"), (before, "published")])


@pytest.fixture(scope="module")
def built(watched: tuple[Warehouse, dict[str, bool]]) -> Warehouse:
    """The warehouse with its marts and its docs page."""
    warehouse = watched[0]
    warehouse.dbt("build", "--exclude-resource-type", "test", "unit_test", "--exclude", "tag:derived")
    warehouse.dbt("docs", "generate", "--static")
    target = warehouse.home / "target"
    page, manifest = str(target / "static_index.html"), str(target / "manifest.json")
    warehouse.ingest("pictures", "--manifest", manifest, "--page", page)
    return warehouse


@pytest.fixture(scope="module")
def docs(built: Warehouse) -> Iterator[str]:
    """Serve the one page, as the compose stack does."""
    site = built.home / "site"
    site.mkdir()
    (site / "index.html").write_bytes((built.home / "target" / "static_index.html").read_bytes())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_docs_page_leads_a_newcomer_and_shows_its_pictures(docs: str, browser: Browser, width: str) -> None:
    with opened(browser, docs, width) as page:
        page.wait_for_selector("text=How fresh it is")
        assert "release sample, 5,658 rows, published" in page.inner_text("body")
        page.wait_for_function(
            "[...document.querySelectorAll('.app-details img')].every(each => each.naturalWidth > 0)"
        )
        assert page.locator(".app-details img").count() == 8


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_a_mart_has_its_map_and_whole_descriptions(docs: str, browser: Browser, width: str) -> None:
    with opened(browser, f"{docs}#!/model/model.admin_boundaries.admin_level_1", width) as page:
        page.wait_for_selector("img[alt='Map of the units of level 1']")
        column = page.locator(".column-row", has_text="parent_gid").first
        words = column.locator("p", has_text="Key of the unit right above")
        assert words.evaluate("each => each.scrollWidth <= each.clientWidth && each.clientHeight > 30")
        assert words.bounding_box()["x"] + words.bounding_box()["width"] <= WIDTHS[width][0]  # type: ignore[index]
        assert "for everyone's use" in page.inner_text(".detail-body")


def test_the_lineage_of_the_docs_has_lines_that_can_be_seen(docs: str, browser: Browser) -> None:
    with opened(browser, f"{docs}#!/overview?g_v=1", "desk") as page:
        page.wait_for_function(
            """[...document.querySelectorAll("canvas")].some((canvas) => {
                if (!canvas.width) return false;
                const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                let lines = 0;
                for (let at = 0; at < pixels.length; at += 4)
                    lines += pixels[at] === 143 && pixels[at + 1] === 208 && pixels[at + 2] === 220;
                return lines > 200;
            })""",
            timeout=60_000,
        )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_search_of_the_docs_finds_gid(docs: str, browser: Browser, width: str) -> None:
    with opened(browser, docs, width) as page:
        page.fill("input[type=search], input[placeholder*=Search]", "gid")
        page.wait_for_selector("text=/\\d+ search results/")
        assert "admin_units" in page.inner_text("body")


def test_a_country_goes_from_postgis_into_every_format(built: Warehouse, tmp_path: Path) -> None:
    for name in ("all.gpkg", "units.parquet", "units.fgb"):
        marts = () if name == "all.gpkg" else ("admin_level_2",)
        built.ingest("export", *marts, "--country", "DZA", "-o", str(tmp_path / name))
    _register_drivers()  # a test of an engine may have removed them from this process
    assert pyogrio.read_info(tmp_path / "all.gpkg", layer="admin_level_3")["features"] == 1538
    frame = geopandas.read_parquet(tmp_path / "units.parquet")
    assert (len(frame), frame.crs == "EPSG:4326", set(frame.geom_type)) == (548, True, {"MultiPolygon"})
    assert pyogrio.read_info(tmp_path / "units.fgb")["features"] == 548


def test_a_mart_from_postgis_is_whole(built: Warehouse, tmp_path: Path) -> None:
    built.ingest("export", "admin_level_2", "-o", str(tmp_path / "units.parquet"))
    frame = geopandas.read_parquet(tmp_path / "units.parquet")
    assert len(frame) == SAMPLE_COUNTS[2]
    assert frame["gid"].is_unique
    vertices = built.one("select sum(ST_NPoints(geom)) from marts.admin_level_2")
    assert frame.geometry.count_coordinates().sum() == vertices


def test_qgis_finds_the_geometry_and_one_key_that_is_no_number(built: Warehouse) -> None:
    rows = built.query(
        "select f_table_name, coord_dimension, srid, type from geometry_columns where f_table_schema = 'marts' "
        "and f_table_name not like '%_parts'"  # pieces for `locate`, not for maps
    )
    assert {row[1:] for row in rows} == {(2, 4326, "MULTIPOLYGON")}
    keys = built.query(
        "select c.relname, count(*), min(format_type(a.atttypid, a.atttypmod)) from pg_index i "
        "join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace "
        "join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey) "
        "where i.indisprimary and n.nspname = 'marts' group by 1"
    )
    by_table = {table: (count, kind) for table, count, kind in keys}
    for table, *_ in rows:
        assert by_table[table] == (1, "text")
