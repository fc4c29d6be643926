"""Serve the map on this machine: its page, the tiles by ranges, and answers from the marts. Nothing can be changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from admin_boundaries import licences
from admin_boundaries.explorer import details, site
from admin_boundaries.tiles import archive
from admin_boundaries.warehouse import Warehouse, known_marts, open_warehouse
from ingest import settings as settings_of
from ingest.dashboard.server import HEADERS, OnlyHosts, WithHeaders, listen, names_of
from ingest.errors import IngestError
from ingest.settings import Settings

MAX_NAME, MAX_GID, FOUND = 80, 200, 20
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src blob:; child-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Explorer:
    """The map of a dataset.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    tiles : Path
        The archive of tiles.
    """

    def __init__(self, settings: Settings, tiles: Path) -> None:
        self._settings, self._tiles = settings, tiles
        self._one_at_a_time = (
            threading.Lock()
        )  # as many connections to the warehouse as there are browsers would be many

    def app(self, hosts: Sequence[str]) -> Starlette:
        """Return the application, which answers only requests to the given host names."""
        pages = {path.name: path for path in site.pages()}
        routes = [Route(f"/{name}", self._file(path)) for name, path in pages.items()]
        return Starlette(
            routes=[
                Route("/", self._file(pages["index.html"])),
                *routes,
                Route(f"/{site.TILES}", self._file(self._tiles)),
                Route("/config.json", self._answer(self._config)),
                Route("/unit", self._answer(self._unit)),
                Route("/find", self._answer(self._find)),
                Route("/locate", self._answer(self._locate)),
            ],
            middleware=[
                Middleware(WithHeaders, headers={**HEADERS, "Content-Security-Policy": POLICY}),
                Middleware(OnlyHosts, names=hosts),
            ],
        )

    @staticmethod
    def _file(path: Path) -> Callable[[Request], Any]:
        async def respond(_request: Request) -> Response:
            return FileResponse(path)

        return respond

    def _answer(self, ask: Callable[[Warehouse, dict[str, str]], object]) -> Callable[[Request], Any]:
        """Return an endpoint that asks the marts; a question that is none is answered with 400, an unknown unit 404."""

        def asked(parameters: dict[str, str]) -> object:
            with self._one_at_a_time, open_warehouse(self._settings) as warehouse:
                return ask(warehouse, parameters)

        async def respond(request: Request) -> Response:
            try:
                found = await run_in_threadpool(asked, dict(request.query_params))
            except (KeyError, ValueError):
                return JSONResponse({"error": "This is not a question that the map asks."}, status_code=400)
            except IngestError as error:
                return JSONResponse({"error": str(error)}, status_code=503)
            return JSONResponse(found, status_code=404 if found is None else 200)

        return respond

    def _config(self, warehouse: Warehouse, _parameters: dict[str, str]) -> object:
        return site.config(warehouse, known_marts(warehouse)) | {"served": True}

    def _unit(self, warehouse: Warehouse, parameters: dict[str, str]) -> object:
        gid = _short(parameters["gid"], MAX_GID)
        return next(iter(details.of_units(warehouse, known_marts(warehouse), [gid])), None)

    def _find(self, warehouse: Warehouse, parameters: dict[str, str]) -> object:
        found = warehouse.find(_short(parameters["name"], MAX_NAME), FOUND)
        return [
            {
                "gid": each.gid,
                "level": each.admin_level,
                "name": each.name,
                "type": each.type_english,
                "path": each.path,
            }
            for each in found
        ]

    def _locate(self, warehouse: Warehouse, parameters: dict[str, str]) -> object:
        from admin_boundaries.locate import COLUMNS

        lon, lat = float(parameters["lon"]), float(parameters["lat"])
        if not (-180 <= lon <= 180 and -90 <= lat <= 90):
            raise ValueError
        answer = dict(zip(COLUMNS, warehouse.locate(lon, lat), strict=True))
        return {name: answer[name] for name in ("status", "gid", "path", "tzid")}


def _short(text: str, most: int) -> str:
    if not text or len(text) > most:
        raise ValueError
    return text


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    names: Sequence[str],
    of_datasets: licences.OfDatasets,
    bar: Callable[[], AbstractContextManager[Callable[[float], None]]],
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Serve the map until a signal stops it; draw its tiles first, once for each build.

    Raises
    ------
    MartsMissing
        When there are no marts, or no simplified units.
    SettingsError
        When the address or port cannot be used.
    """
    tiles = drawn(settings, of_datasets=of_datasets, bar=bar, report=report, warn=warn)
    listen(Explorer(settings, tiles).app(names_of(host, names)), "map", host, port, report, open_to="the map.")


def folder_of(settings: Settings) -> Path:
    """Return where tiles are drawn to: an archive for the build, named by it."""
    return settings.home / settings_of.with_dataset("map", settings.boundaries)


def drawn(
    settings: Settings,
    *,
    of_datasets: licences.OfDatasets,
    bar: Callable[[], AbstractContextManager[Callable[[float], None]]],
    report: Callable[[str], None],
    warn: Callable[[str], None],
) -> Path:
    """Return the archive of tiles of the build; draw it first if it is not there, and remove those of earlier builds.

    Raises
    ------
    MartsMissing
        When there are no marts, or no simplified units.
    """
    folder = folder_of(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with open_warehouse(settings) as warehouse:
        tiles = folder / f"{site.build_of(warehouse.editions())}.pmtiles"
    if not tiles.exists():
        report("Drawing the tiles, once for this build: some minutes for the world.")
        with bar() as progress:
            archive.write(
                settings,
                (),
                tiles,
                overwrite=True,
                of_datasets=of_datasets,
                progress=progress,
                warn=warn,
                warn_of_licences=lambda _text: None,  # whoever serves them warns
            )
        for older in folder.glob("*.pmtiles"):
            if older != tiles:
                older.unlink()
    return tiles
