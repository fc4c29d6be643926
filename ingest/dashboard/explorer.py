"""The map: its page, the tiles by ranges, and answers from the marts. Nothing can be changed through it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from admin_boundaries import find, licences
from admin_boundaries.explorer import details, site
from admin_boundaries.tiles import archive
from admin_boundaries.warehouse import Warehouse, known_marts, open_warehouse
from ingest import catalog
from ingest import settings as settings_of
from ingest.errors import IngestError
from ingest.settings import Settings

log = logging.getLogger(__name__)

MAX_NAME, MAX_GID, FOUND = 80, 200, 20
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src blob:; child-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Explorer:
    """The map of a dataset, and below it those of all others of the warehouse.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    of_datasets : mapping of str to (str, str, str)
        See `admin_boundaries.tiles.archive.write`.
    """

    def __init__(self, settings: Settings, of_datasets: licences.OfDatasets) -> None:
        self._settings, self._of_datasets = settings, of_datasets
        self._folder = folder_of(settings)
        # as many connections to the warehouse as there are browsers would be many
        self._one_at_a_time = threading.Lock()
        self._drawing: threading.Thread | None = None
        self._share, self._fault = 0.0, ""

    def routes(self) -> list[BaseRoute]:
        """Return what the page consists of and asks for; below the name of each dataset, what that of its map does."""
        maps = {name: Explorer(self._of(name), self._of_datasets) for name in catalog.hierarchies()}
        maps[self._settings.boundaries] = self  # tiles are drawn by one
        return [
            *self._own_routes(""),
            *(Mount(f"/{name}", routes=explorer._own_routes("../")) for name, explorer in maps.items()),
        ]

    def _of(self, dataset: str) -> Settings:
        return replace(self._settings, boundaries=dataset)

    def _own_routes(self, up: str) -> list[BaseRoute]:
        """Return the routes of this dataset; ``up`` leads from its page to the one that the others are below."""
        pages = {path.name: path for path in site.pages()}
        return [
            Route("/", _file(pages["index.html"])),
            *(Route(f"/{name}", _file(path)) for name, path in pages.items()),
            Route("/tiles/{build:str}.pmtiles", self._tiles),
            Route("/config.json", self._answer(partial(self._config, up))),
            Route("/lists.json", self._answer(self._lists)),
            Route("/unit", self._answer(self._unit)),
            Route("/find", self._answer(self._find)),
            Route("/meant", self._answer(self._meant)),
            Route("/locate", self._answer(self._locate)),
        ]

    def is_drawn(self) -> bool:
        """Whether there are tiles of the marts as they are.

        Raises
        ------
        MartsMissing
            When there are no marts.
        """
        with open_warehouse(self._settings) as warehouse:
            return self._path(site.build_of(warehouse.editions())).exists()

    def draw(self, progress: Callable[[float], None], warn: Callable[[str], None]) -> None:
        """Draw the tiles of the marts as they are, which takes some minutes for the world, and remove older ones.

        Raises
        ------
        MartsMissing
            When there are no marts, or no simplified units.
        MartsReplaced
            When a build replaced the marts meanwhile.
        """
        with open_warehouse(self._settings) as warehouse:
            tiles = self._path(site.build_of(warehouse.editions()))
        self._folder.mkdir(parents=True, exist_ok=True)
        archive.write(
            self._settings,
            (),
            tiles,
            overwrite=True,
            of_datasets=self._of_datasets,
            progress=progress,
            warn=warn,
            warn_of_licences=lambda _text: None,  # whoever serves them to others warns
        )
        for older in self._folder.glob("*.pmtiles"):
            if older != tiles:
                older.unlink()

    def _path(self, build: str) -> Path:
        return self._folder / f"{build}.pmtiles"

    async def _tiles(self, request: Request) -> Response:
        path = self._path(request.path_params["build"])
        if path.parent != self._folder or not path.exists():
            return PlainTextResponse("There are no such tiles.", status_code=404)
        return FileResponse(path)

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

    def _config(self, up: str, warehouse: Warehouse, _parameters: dict[str, str]) -> object:
        """Return what the page needs to know; while the tiles are drawn, only the share that is done."""
        build = site.build_of(warehouse.editions())
        known = known_marts(warehouse)
        if self._fault:
            fault, self._fault = self._fault, ""  # whoever asks again lets them be drawn again
            raise IngestError(fault)
        if self._drawing is None and not self._path(build).exists():
            archive.check(warehouse, known)
            self._share = 0.0
            self._drawing = threading.Thread(target=self._draw, daemon=True)
            self._drawing.start()
        if self._drawing:
            return {"drawn": self._share}
        return site.config(warehouse, known) | {
            "served": True,
            "tiles": f"tiles/{build}.pmtiles",
            "up": up,
            "dataset": warehouse.dataset,
            "datasets": self._mapped(warehouse),
        }

    def _mapped(self, warehouse: Warehouse) -> list[str]:
        """Return the datasets that there is a map of."""
        found = {warehouse.dataset}
        for name in {*warehouse.published()} & {*catalog.hierarchies()} - found:
            try:
                with open_warehouse(self._of(name)) as other:
                    archive.check(other, known_marts(other))
            except IngestError:  # it has no marts yet, or nothing to draw tiles from
                continue
            found.add(name)
        return sorted(found)

    def _draw(self) -> None:
        try:
            self.draw(self._note, log.warning)
        except IngestError as error:
            self._fault = str(error)
        except Exception:
            log.exception("The tiles could not be drawn.")
            self._fault = "The tiles could not be drawn; the log of the server says why."
        finally:
            self._drawing = None

    def _note(self, share: float) -> None:
        self._share = share

    def _lists(self, warehouse: Warehouse, _parameters: dict[str, str]) -> object:
        return site.lists(warehouse, known_marts(warehouse))

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

    def _meant(self, warehouse: Warehouse, parameters: dict[str, str]) -> object:
        return find.meant(warehouse, _short(parameters["name"], MAX_NAME))

    def _locate(self, warehouse: Warehouse, parameters: dict[str, str]) -> object:
        from admin_boundaries.locate import COLUMNS

        lon, lat = float(parameters["lon"]), float(parameters["lat"])
        if not (-180 <= lon <= 180 and -90 <= lat <= 90):
            raise ValueError
        answer = dict(zip(COLUMNS, warehouse.locate(lon, lat), strict=True))
        return {name: answer[name] for name in ("status", "gid", "path", "tzid")}


def folder_of(settings: Settings) -> Path:
    """Return where tiles are drawn to: an archive for the build, named by it."""
    return settings.home / settings_of.with_dataset("map", settings.boundaries)


def _file(path: Path) -> Callable[[Request], Any]:
    async def respond(_request: Request) -> Response:
        return FileResponse(path)

    return respond


def _short(text: str, most: int) -> str:
    if not text or len(text) > most:
        raise ValueError
    return text
