"""Regenerate everything in docs/images: the pictures, and screenshots of the map, the dashboard and the docs site.

Run with ``make pictures``. Only the bundled sample is loaded, into a temporary folder; its states and counties in both
releases, for a picture of what changed. The dashboard is captured during a load that follows a failed run.
"""

from __future__ import annotations

import io
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import psutil
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from admin_boundaries import pictures
from admin_boundaries.pictures import changes
from admin_boundaries.warehouse import open_warehouse
from ingest.settings import read_settings

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PYTHON = sys.executable
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # the map is drawn without a graphics card
)
Scheme = Literal["light", "dark"]
DESKTOP, PHONE = (1280, 800), (390, 844)
VIEWS: tuple[tuple[str, tuple[int, int], Scheme], ...] = (
    ("", DESKTOP, "light"),
    ("-dark", DESKTOP, "dark"),
    ("-phone", PHONE, "light"),
    ("-phone-dark", PHONE, "dark"),
)
COLOURS = 256
WITHOUT_FOLDERS = """(folders) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    for (const [folder, shown] of folders)
      texts.currentNode.textContent = texts.currentNode.textContent.replaceAll(folder, shown);
}"""
SAMPLE = ("gadm", "timezones", "--release", "sample")
DIVIDED = ("02", "09")  # Alaska and Connecticut, some of whose counties are not what they were


def run(env: dict[str, str], *command: str, is_expected: bool = True) -> str:
    """Run a command in the project's root and return what it printed."""
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if is_expected and done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def served(env: dict[str, str], page: str) -> Iterator[str]:
    """Serve the dashboard or the map, and yield its address."""
    command = [PYTHON, "-m", "ingest", page, "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        found = re.search(r"http://\S+", next((line for line in process.stdout or () if "http:" in line), ""))
        yield found[0].removesuffix("/map/").rstrip("/") if found else sys.exit(f"The {page} did not start.")
    finally:
        process.terminate()
        process.wait()


def opened(browser: Browser, address: str, size: tuple[int, int], scheme: Scheme = "light") -> Page:
    """Open a page in a window of its own."""
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    return page


def shoot(page: Page, name: str, *, settle_ms: int = 1500) -> None:
    """Take a screenshot of a page once it has settled, in as many colours as a page has."""
    page.wait_for_timeout(settle_ms)
    taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    fewer = taken.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # the small ones, too
    fewer.save(IMAGES / name, optimize=True)
    page.close()
    print(f"docs/images/{name}")


@contextmanager
def held_half_loaded(process: subprocess.Popen[bytes], ledger: Path) -> Iterator[None]:
    """Hold a load and its workers, for as long as the block lasts, when some of its slices are loaded and some are not.

    The sample loads in two seconds, and a page is refreshed once a second.
    """
    mixed = (
        "select count(distinct ingest_slices.state) from ingest_slices join ingest_runs using (run_id) "
        "where dataset = 'gadm' and ingest_runs.state = 'loading' and ingest_slices.state in ('loaded', 'queued')"
    )
    family: list[psutil.Process] = []
    try:
        with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
            while not family:
                if process.poll() is not None:
                    sys.exit("The load had ended before a picture could be taken. Try again.")
                if connection.execute(mixed).fetchone() == (2,):
                    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                    for each in family:
                        each.suspend()
                    if not _is_free(connection) or connection.execute(mixed).fetchone() != (2,):
                        for each in family:
                            each.resume()
                        family = []
                time.sleep(0.01)
        yield
    finally:
        for each in family:
            each.resume()
        process.wait()


def _is_free(connection: sqlite3.Connection) -> bool:
    """Whether a suspended process holds no lock that the dashboard would wait for."""
    connection.execute("pragma busy_timeout = 100")
    try:
        connection.execute("begin immediate")
        connection.execute("rollback")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.execute("pragma busy_timeout = 5000")
    return True


def without_folders(page: Page, home: str) -> None:
    """Show a page as it is where the warehouse is in its usual place: the folders of this one would tell nothing."""
    page.evaluate(WITHOUT_FOLDERS, [[home, ".warehouse"], [f"{Path(sys.prefix).parent}/", ""]])


def shoot_dashboard(env: dict[str, str], address: str, browser: Browser) -> None:
    """Take screenshots of the dashboard: during a load by a single worker, and of the failed run."""
    pages = {f"dashboard{suffix}.png": opened(browser, address, size, scheme) for suffix, size, scheme in VIEWS}
    process = subprocess.Popen(
        [PYTHON, "-m", "ingest", *SAMPLE, "--force", "--workers", "1", "--engine", "geopandas"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with held_half_loaded(process, Path(env["WAREHOUSE_HOME"]) / "ledger.sqlite"):
        for name, page in pages.items():
            page.wait_for_selector(".left:text-is('done')", timeout=60_000)
            without_folders(page, env["WAREHOUSE_HOME"])
            shoot(page, name, settle_ms=100)
    page = opened(browser, address, DESKTOP)
    page.click("details.error summary")
    page.click("details.error a")
    page.wait_for_selector("text=Retry")
    page.click("details.error summary")
    without_folders(page, env["WAREHOUSE_HOME"])
    shoot(page, "dashboard-run.png", settle_ms=100)


def shoot_map(address: str, browser: Browser) -> None:
    """Take screenshots of the map, where a county was clicked."""
    for suffix, size, scheme in VIEWS:
        page = opened(browser, f"{address}/map/#at=6.3/38.5/-96", size, scheme)
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        page.click("#map canvas")
        page.wait_for_selector("#place h2")
        page.wait_for_selector("text=The point that was clicked")
        page.mouse.move(5, 5)
        shoot(page, f"map{suffix}.png")


def shoot_changes(env: dict[str, str], browser: Browser) -> None:
    """Take a screenshot of the map where it shows what changed."""
    with served({**env, "BOUNDARIES": "tiger"}, "map") as address:
        page = opened(browser, f"{address}/map/#at=7.7/41.55/-73.25&unit=09190&colour=change", DESKTOP)
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        page.wait_for_selector("#place h2")
        shoot(page, "map-changes.png")


def draw_changes(env: dict[str, str], dbt: str) -> None:
    """Load both releases of the states and counties, and draw whose ground was divided anew."""
    env = {**env, "BOUNDARIES": "tiger"}
    for release in ("sample", "sample-2023"):
        run(env, PYTHON, "-m", "ingest", "tiger", "--release", release)
    run(env, dbt, "build", "--exclude-resource-type", "test", "unit_test")
    with open_warehouse(read_settings(env)) as warehouse:
        pictures.save(changes.divided(warehouse, 2, DIVIDED), IMAGES / "split.png")


def main() -> None:
    """Write the pictures and screenshots."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="boundaries-pictures-") as name:
        home = Path(name)
        target = home / "target"
        env = {
            **os.environ,
            **{"WAREHOUSE_TARGET": "embedded", "WAREHOUSE_HOME": str(home), "TZ": "UTC"},
            **{"DBT_TARGET_PATH": str(target), "DBT_LOG_PATH": str(home / "logs")},
        }
        dbt = str(Path(PYTHON).with_name("dbt"))
        run(env, PYTHON, "-m", "ingest", *SAMPLE)
        run(env, dbt, "build")
        run(env, dbt, "docs", "generate", "--static")
        page, manifest = target / "static_index.html", target / "manifest.json"
        drawn = ("--output", str(IMAGES), "--manifest", str(manifest), "--page", str(page))
        IMAGES.mkdir(parents=True, exist_ok=True)
        run(env, PYTHON, "-m", "ingest", "pictures", *drawn)
        draw_changes(env, dbt)
        damaged = home / "damaged.zip"
        damaged.write_text("<!doctype html><title>502 Bad Gateway</title>")
        run(env, PYTHON, "-m", "ingest", "gadm", "--source", str(damaged), is_expected=False)
        with sync_playwright() as playwright, served(env, "map") as map_, served(env, "dashboard") as address:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
            shoot_map(map_, browser)
            shoot_changes(env, browser)
            shoot_dashboard(env, address, browser)
            for suffix, size, scheme in VIEWS:
                shoot(opened(browser, page.as_uri(), size, scheme), f"docs-site{suffix}.png", settle_ms=3000)
            browser.close()
    print(f"{len(list(IMAGES.iterdir()))} files in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
