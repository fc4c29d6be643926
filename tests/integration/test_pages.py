"""The pages in a real browser, at the width of a desk and of a phone, and the files for other programs, on PostGIS."""

from __future__ import annotations

import doctest
import http.server
import json
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import axe_playwright_python
import geopandas
import matplotlib as mpl
import pyogrio
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Route, sync_playwright
from pyogrio._ogr import _register_drivers
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

import admin_boundaries as ab
from admin_boundaries import World, rows, units, world
from scripts import run_tour
from tests.conftest import ROOT
from tests.fixtures import documented
from tests.fixtures.documents import ask, asked_of_the_service, blocks
from tests.ingest.test_cli import run_apart
from tests.integration.conftest import SAMPLE_COUNTS, NewWarehouse, Warehouse

pytestmark = [pytest.mark.servers, pytest.mark.slow]

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # the map is drawn without a graphics card
)
WIDTHS = {"desk": (1440, 900), "phone": (390, 844)}
ABORTED = "net::ERR_ABORTED"  # streams end with their page, and what has left the map is not waited for
DRAWN_BY_THE_PROCESSOR = "GL Driver Message"  # that it is slow without a graphics card
DERIVED_BUT_FOR_THE_MAP = (
    *("tag:derived,path:models/marts/changes", "tag:derived,path:models/intermediate"),
    *("tag:derived,path:models/marts/concordance", "tag:derived,path:models/marts/quality"),
    "tag:derived,path:models/marts/timezones",
)
AXE = Path(*axe_playwright_python.__path__) / "axe.min.js"
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
def opened(browser: Browser, address: str, width: str, scheme: Literal["light", "dark"] = "light") -> Iterator[Page]:
    """Open a page, and check at the end that it complained of nothing and asked for nothing from elsewhere."""
    wide, high = WIDTHS[width]
    page = browser.new_page(viewport={"width": wide, "height": high}, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.failure} {request.url}"))
    elsewhere: list[str] = []
    here = address.split("/")[2]
    page.on("request", lambda request: elsewhere.append(request.url) if here not in request.url[:60] else None)
    page.goto(address)
    yield page
    page.wait_for_load_state()  # a page that was just opened has no width of its own before its style sheet is there
    assert page.evaluate("document.documentElement.scrollWidth") <= wide, "the page is wider than its window"
    ignored = ("/events", ABORTED, DRAWN_BY_THE_PROCESSOR)
    complaints = [each for each in complaints if not any(text in each for text in ignored)]
    page.close()
    assert complaints == []
    assert [url for url in elsewhere if not url.startswith("data:")] == []


@contextmanager
def dashboard(warehouse: Warehouse, command_name: str = "dashboard") -> Iterator[str]:
    """Serve the dashboard of a warehouse, its map, or the service."""
    command = [sys.executable, "-m", "ingest", command_name, "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=warehouse.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", next(line for line in process.stdout if "http:" in line))
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


def serious_faults(page: Page) -> list[str]:
    """Return what axe-core finds that keeps people out."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    faults: list[dict[str, Any]] = page.evaluate("axe.run()")["violations"]
    return [
        f"{fault['id']}: {fault['nodes'][0]['html']}" for fault in faults if fault["impact"] in ("serious", "critical")
    ]


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_everyone_can_read_the_dashboard(
    watched: tuple[Warehouse, dict[str, bool]], browser: Browser, width: str, scheme: Literal["light", "dark"]
) -> None:
    with dashboard(watched[0]) as address, opened(browser, address, width, scheme) as page:
        page.wait_for_selector("#live.on")
        assert serious_faults(page) == []
        page.click("details.error a", force=True) if page.is_visible("details.error a") else page.click("td.name a")
        page.wait_for_selector("h1 .state")
        assert serious_faults(page) == []


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
    warehouse.dbt("build", "--exclude-resource-type", "test", "unit_test", "--exclude", *DERIVED_BUT_FOR_THE_MAP)
    warehouse.dbt("docs", "generate", "--static")
    target = warehouse.home / "target"
    page, manifest = str(target / "static_index.html"), str(target / "manifest.json")
    warehouse.ingest("pictures", "--manifest", manifest, "--page", page)
    return warehouse


@pytest.fixture
def sample(built: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The sample, as the environment names it to whoever opens it in Python."""
    for name, value in built.env.items():
        monkeypatch.setenv(name, value)
    with ab.open() as opened:
        yield opened


@pytest.mark.filterwarnings("ignore::admin_boundaries.MartsStale")  # the time zones were rolled back
@pytest.mark.parametrize("module", [rows, units, world], ids=lambda module: module.__name__)
def test_the_examples_of_the_python_interface_say_what_it_answers(sample: World, module: ModuleType) -> None:
    found = doctest.testmod(module, extraglobs={"world": sample}, optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
    assert module is not world or found.attempted > 15


@pytest.mark.filterwarnings("ignore::admin_boundaries.MartsStale")
@pytest.mark.usefixtures("sample")
def test_the_python_examples_of_the_documentation_run() -> None:
    mpl.use("agg")
    ours = [text for name in ("connect", "locate") for text in blocks(ROOT / "docs" / f"{name}.md", "python")]
    ours = [text for text in ours if "admin_boundaries" in text]
    assert len(ours) == 3
    for text in ours:
        exec(compile(text, text, "exec"), {})


@pytest.mark.filterwarnings("ignore::admin_boundaries.MartsStale")
@pytest.mark.usefixtures("sample")
def test_the_commands_of_the_documents_that_read_run_and_print_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    _register_drivers()  # a test of an engine may have removed them from this process
    (tmp_path / "points.csv").write_text("lon,lat,seen\n-66.1,18.4,2026-03-29T00:30Z\n3.05,36.75,2026-03-29T00:30Z\n")
    commands = documented.run_as_printed(documented.READING)
    assert len(commands) > 20
    for command in commands:
        (tmp_path / "located.csv").unlink(missing_ok=True)
        code, out, error = run_apart(*command.words, capsys=capsys, monkeypatch=monkeypatch)
        assert code == command.printed.startswith("error: "), f"{command.line}: {error}"
        said = [line.rstrip() for line in f"{out}\n{error}".splitlines()]
        assert [line for line in command.printed.splitlines() if line not in said] == [], command.line
    plot, _of_folium = blocks(ROOT / "docs" / "tools.md", "python")
    exec(compile(f"import geopandas\n{plot}", plot, "exec"), {})
    assert (tmp_path / "dza.png").stat().st_size > 10_000


def test_the_questions_to_the_service_in_its_documentation_are_answered(built: Warehouse) -> None:
    lines = [line for line in asked_of_the_service() if "&at=" not in line]  # clocks are not built here
    assert len(lines) == 4
    with dashboard(built, "serve") as address:
        for line in lines:
            assert ask(address, line), line


@pytest.mark.filterwarnings("ignore::admin_boundaries.MartsStale")
@pytest.mark.usefixtures("sample")
def test_the_notebook_shows_what_its_cells_give() -> None:
    notebook = json.loads(run_tour.TOUR.read_text(encoding="utf-8"))
    kept = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    given = run_tour.outputs(notebook)
    assert len(given) == len(kept) > 8
    for shown, before in zip(given, kept, strict=True):
        assert [each["data"]["text/plain"] for each in shown] == [each["data"]["text/plain"] for each in before]
        assert [set(each["data"]) for each in shown] == [set(each["data"]) for each in before]


@pytest.fixture(scope="module")
def docs(built: Warehouse) -> Iterator[str]:
    """Serve the one page, as the compose stack does."""
    site = built.home / "site"
    site.mkdir(exist_ok=True)
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
def test_the_pages_of_the_service_need_nothing_from_elsewhere(built: Warehouse, browser: Browser, width: str) -> None:
    with dashboard(built, "serve") as address:
        with opened(browser, f"{address}/", width) as page:
            assert page.inner_text("h1") == "Administrative boundaries"
        with opened(browser, f"{address}/docs", width) as page:
            page.wait_for_selector('[data-path="/collections/{collection}/items"]')


@pytest.mark.parametrize("width", WIDTHS)
def test_the_docs_page_leads_a_newcomer_and_shows_its_pictures(docs: str, browser: Browser, width: str) -> None:
    with opened(browser, docs, width) as page:
        page.wait_for_selector("text=How fresh it is")
        assert "release sample, 5,658 rows, published" in page.inner_text("body")
        page.wait_for_function(
            "[...document.querySelectorAll('.app-details img')].every(each => each.naturalWidth > 0)"
        )
        assert page.locator(".app-details img").count() == 8


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_everyone_can_read_the_docs_page(
    docs: str, browser: Browser, width: str, scheme: Literal["light", "dark"]
) -> None:
    for place in ("", "#!/model/model.admin_boundaries.admin_level_1"):
        with opened(browser, docs + place, width, scheme) as page:
            page.wait_for_selector("img[alt^='Map of the units']")
            assert serious_faults(page) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_a_mart_has_its_map_and_whole_descriptions(docs: str, browser: Browser, width: str) -> None:
    with opened(browser, f"{docs}#!/model/model.admin_boundaries.admin_level_1", width) as page:
        page.wait_for_selector("img[alt='Map of the units of level 1']")
        column = page.locator(".column-row", has_text="parent_gid").first
        words = column.locator("p", has_text="Key of the unit right above")
        assert words.evaluate("each => each.scrollWidth <= each.clientWidth && each.clientHeight > 30")
        assert words.bounding_box()["x"] + words.bounding_box()["width"] <= WIDTHS[width][0]  # type: ignore[index]
        assert "for everyone's use" in page.inner_text(".detail-body")
        assert str(page.get_attribute("a:text-is('On the map')", "href")).endswith("/map/#level=1")


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
        # pieces for `locate`, and outlines of several sizes: not for maps of one's own
        "and f_table_name not like '%_parts' and f_table_name <> 'admin_units_simplified'"
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


@pytest.fixture(scope="module")
def explorer(built: Warehouse) -> Iterator[str]:
    """The map of the sample."""
    with dashboard(built, "map") as address:
        yield f"{address}/map"


def begun(page: Page) -> None:
    """Wait until the map is there."""
    page.wait_for_selector("body[data-ready]", timeout=60_000)


def unfold(page: Page) -> None:
    """Open the choices, which are folded on a phone."""
    if not page.is_visible("#colour"):
        page.press("#fold > summary", "Enter")


def shown(page: Page) -> str:
    """Return what is said of the place, once it is there."""
    page.wait_for_selector("#place h2")
    return page.inner_text("#place")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_newcomer_finds_his_county_its_neighbours_and_its_local_time(
    explorer: str, browser: Browser, width: str, scheme: Literal["light", "dark"]
) -> None:
    with opened(browser, f"{explorer}/#at=7/38/-95", width, scheme) as page:
        begun(page)
        page.click("#map canvas")
        text = shown(page)
        assert [each in text for each in ("United States", "Kansas", "Bourbon", "Crawford", "America/Chicago")] == [
            True
        ] * 5
        assert re.search(r"\d\d:\d\d", text)
        page.click("#place .beside button >> text=Crawford")
        page.wait_for_selector("#place h2 >> text=Crawford")
        assert "unit=USA.17.19_1" in page.url
        unfold(page)
        page.check("#levels input[value='1']", force=True)
        page.click("#place .chain button >> text=Kansas")
        page.wait_for_selector("#place h2 >> text=Kansas")
        page.select_option("#colour", "zone")
        assert "level=1" in page.url
        assert "colour=zone" in page.url
        assert serious_faults(page) == []


IS_COVERED = """() => {
    const [west, , , north] = (place ?? config).box, corner = map.project([west, north]);
    const world = 512 * 2 ** map.getZoom(), x = ((corner.x % world) + world) % world;
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = document.getElementById("choices");
    return x < offsetLeft + offsetWidth && corner.y < offsetTop + offsetHeight;
}"""


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_loaded_and_what_is_chosen_lie_beside_the_choices(explorer: str, browser: Browser, width: str) -> None:
    with opened(browser, explorer, width) as page:
        if width == "desk":
            page.set_viewport_size({"width": 1280, "height": 640})  # of a laptop: little room below the choices
            page.reload()
        begun(page)
        assert not page.evaluate(IS_COVERED)
        assert len(names_in(page, "level_0-fill")) == SAMPLE_COUNTS[0]
        assert page.is_visible("#colour") == (width == "desk"), "on a phone, they are folded"
        unfold(page)
        page.fill("#name", "Algeria")
        page.press("#name", "Enter")
        page.press("#results button:focus", "Enter")
        page.wait_for_selector("#place h2 >> text=Algeria")
        assert not page.evaluate(IS_COVERED)


def test_a_clicked_point_is_copied_by_a_click_as_locate_takes_it(
    built: Warehouse, explorer: str, browser: Browser
) -> None:
    with opened(browser, f"{explorer}/#at=7/38/-95", "desk") as page:
        begun(page)
        page.click("#map canvas")
        page.click("#place code")
        point = page.evaluate("getSelection().toString().trim()")
        (gid,) = re.findall(r"unit=([^&]+)", page.url)
    assert [round(float(degrees), 1) for degrees in point.split()] == [-95, 38]
    assert f"\n{gid} " in built.ingest("locate", *point.split()).stdout


def names_in(page: Page, layer: str) -> set[str]:
    """Return what is written on the map."""
    return set(page.evaluate(f"map.queryRenderedFeatures({{layers: ['{layer}']}}).map((each) => each.properties.name)"))


def test_names_are_on_the_map_where_there_is_room(explorer: str, browser: Browser) -> None:
    with opened(browser, f"{explorer}/#at=6.5/38.5/-96", "desk") as page:
        begun(page)
        named = names_in(page, "labels-names")
        above = names_in(page, "labels-above")
        assert named >= {"Reno", "Butler", "Osage"}
        assert above >= {"Kansas", "Missouri"}
        page.goto(f"{explorer}/#at=1.2/40/-40")
        page.reload()
        begun(page)
        named = names_in(page, "labels-names")
        assert named == {"United States", "Algeria"}, "islands have no room for theirs"


def test_each_colouring_has_a_legend_whose_kinds_are_listed_from_the_keyboard(explorer: str, browser: Browser) -> None:
    with opened(browser, explorer, "phone", "dark") as page:
        begun(page)
        unfold(page)
        for colour, words in (("parent", "Each country has a colour"), ("zone", "UTC−5"), ("anomaly", "nothing")):
            page.select_option("#colour", colour)
            assert words in page.inner_text("#key"), colour
        page.press("#legend button >> nth=0", "Enter")
        page.wait_for_selector("#results button:focus")
        page.press("#results button:focus", "Enter")
        page.wait_for_selector("#place h2:focus")
        assert "What was wrong with the source" in page.inner_text("#place")


def test_the_dashboard_leads_to_the_map_of_the_same_server_and_back(built: Warehouse, browser: Browser) -> None:
    with dashboard(built) as address, opened(browser, address, "desk") as page:
        page.click("header >> text=Map")
        begun(page)
        page.click("text=Runs")
        page.wait_for_selector("h2 >> text=What readers see")


def test_the_map_of_another_dataset_is_chosen_and_shows_the_same_place(built: Warehouse, browser: Browser) -> None:
    def with_another(route: Route) -> None:
        found = route.fetch().json()
        route.fulfill(json=found | {"dataset": "tiger", "datasets": ["gadm", "tiger"]})

    with dashboard(built, "map") as address, opened(browser, address, "phone") as page:
        page.route("**/map/config.json", with_another)
        page.goto(f"{address}/map/#at=5/36.5/3&unit=DZA&colour=zone")
        begun(page)
        assert page.input_value("#dataset") == "tiger"
        unfold(page)
        assert serious_faults(page) == []
        page.select_option("#dataset", "gadm")
        page.wait_for_url(re.compile(r"/map/gadm/#at=5\.00/36\.5000/3\.0000&colour=zone$"))
        begun(page)
        assert page.is_hidden("#dataset")
        page.click("text=Runs")
        page.wait_for_selector("h2 >> text=What readers see")


def test_a_place_is_found_by_name_from_the_keyboard_and_has_an_address(explorer: str, browser: Browser) -> None:
    with opened(browser, explorer, "desk") as page:
        begun(page)
        page.fill("#name", "orange")
        page.press("#name", "Enter")
        page.wait_for_selector("#results button:focus")
        found = page.locator("#results button").all_inner_texts()
        assert all(text.startswith("Orange") for text in found)
        assert "United States > Florida > Orange" in " ".join(found)
        page.press("#results button:has-text('Florida')", "Enter")
        assert "Florida" in shown(page)
        page.wait_for_selector("#place h2:focus")
        address = page.url
    with opened(browser, address, "phone") as page:
        begun(page)
        assert shown(page).startswith("United States\nFlorida\nOrange")
        page.fill("#name", "nowhere at all")
        page.wait_for_selector("text=No place has a name that begins with")
        page.fill("#name", "orenge")
        page.click("#results button:text-is('Orange')")
        page.wait_for_selector("#results >> text=United States > Florida > Orange")


def test_what_the_map_is_not_asked_is_refused(explorer: str, browser: Browser) -> None:
    page = browser.new_page()
    statuses = {
        question: page.request.get(f"{explorer}/{question}").status
        for question in (
            "unit?gid=none",
            "unit",
            f"find?name={'a' * 81}",
            "locate?lon=nan&lat=1",
            "locate?lon=181&lat=1",
        )
    }
    page.close()
    assert list(statuses.values()) == [404, 400, 400, 400, 400], statuses
    posted = urllib.request.Request(f"{explorer}/unit", data=b"gid=USA")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(posted)
    elsewhere = urllib.request.Request(f"{explorer}/unit?gid=USA", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(elsewhere)


def test_the_map_as_files_says_the_same_without_a_server_of_ours(
    built: Warehouse, explorer: str, browser: Browser
) -> None:
    folder = built.home / "site"
    folder.mkdir(exist_ok=True)
    built.ingest("map", "-o", str(folder / "map"))
    assert "is not empty" in built.ingest("map", "-o", str(folder / "map"), expect=2).stderr
    listener = socket.create_server(("127.0.0.1", 0))
    files = uvicorn.Server(
        uvicorn.Config(Starlette(routes=[Mount("/", StaticFiles(directory=folder))]), log_level="error")
    )
    thread = threading.Thread(target=files.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    names = [json.loads((folder / "map" / "names" / f"{n}.json").read_text()) for n in range(2, 12)]
    across = next(name[0][0] for before, name in pairwise(names) if before[-1][0] == name[0][0])  # begins in one file
    asked = ["usa.5_1", "USA.5_1", "us-fl", "US.AK", "DZ-01", "US", across, "none"]
    said = []
    for address in (f"http://127.0.0.1:{listener.getsockname()[1]}/map/index.html", f"{explorer}/"):
        with opened(browser, address, "desk") as page:
            begun(page)
            page.fill("#name", "ORÁNGE")
            page.wait_for_selector("#results button")
            found = page.locator("#results button").all_inner_texts()
            page.click("#results button:has-text('Florida')")
            answers = page.evaluate("(texts) => Promise.all(texts.map((text) => find(text)))", asked)
            units = [[(each["gid"], each["level"], each["name"], each["path"]) for each in some] for some in answers]
            said.append((found, re.sub(r"\d\d:\d\d", "", shown(page)), units))
    files.should_exit = True
    thread.join(60)
    assert said[0] == said[1]
    by_text = dict(zip(asked, said[0][2], strict=True))
    assert by_text["USA.5_1"] == by_text["usa.5_1"] == [("USA.5_1", 1, "California", "United States > California")]


def test_a_web_server_without_ranges_is_told(built: Warehouse, browser: Browser, docs: str) -> None:
    if not (built.home / "site" / "map").exists():
        built.ingest("map", "-o", str(built.home / "site" / "map"))
    page = browser.new_page()
    page.goto(f"{docs}map/index.html")
    page.wait_for_selector("text=This web server does not answer requests for ranges")
    page.close()
