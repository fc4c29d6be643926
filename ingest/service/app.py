"""The service over HTTP: where points lie, which units have a name, and levels as OGC API Features."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Sequence
from email.utils import format_datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jinja2
from fastapi import FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from admin_boundaries import licences
from admin_boundaries.service import answers, features
from admin_boundaries.service.marts import Asked, Build, Marts
from admin_boundaries.service.tiles import Tiles, unpacked
from ingest import __version__
from ingest.dashboard.server import HEADERS, OnlyHosts, WithHeaders
from ingest.errors import SettingsError, UsageError
from ingest.service import questions as q
from ingest.service.problems import MAX_BODY_BYTES, MEDIA, AtMost, Bounded, HeadAsGet, handlers

PAGES = Path(__file__).with_name("pages")
LIBRARY = ("swagger-ui-bundle.js", "swagger-ui.css")
GEOJSON, OPENAPI = "application/geo+json", "application/vnd.oai.openapi+json;version=3.1"
MVT = "application/vnd.mapbox-vector-tile"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
CONFORMS_TO = tuple(f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{name}" for name in ("core", "geojson"))
AT_ONCE = 64
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TOLD = {name: value for name, value in HEADERS.items() if name not in ("Cache-Control", "Cross-Origin-Resource-Policy")}
OF_PROBLEM = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The question is wrong, or nothing is there.", "content": OF_PROBLEM},
    "5XX": {"description": "There are no marts, or too much is asked at once.", "content": OF_PROBLEM},
}
AS_PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}}, "description": "The page."}}
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The answer is still that of the tag."}}
T = TypeVar("T")
_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("ingest.service", "pages"), autoescape=True, undefined=jinja2.StrictUndefined
)


class GeoJson(Response):
    """An answer that is GeoJSON."""

    media_type = GEOJSON


class Tile(Response):
    """An answer that is a vector tile."""

    media_type = MVT


class _App(FastAPI):
    """The application, whose document describes problems as well."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["schemas"]["Problem"] = q.Problem.model_json_schema()
        return document


class Service:
    """Questions over HTTP to the marts of a dataset.

    Parameters
    ----------
    marts : Marts
        The marts.
    tiles : Tiles
        What has been drawn of them.
    url : str
        What links begin with; empty for the address that was asked.
    """

    def __init__(self, marts: Marts, tiles: Tiles, url: str = "") -> None:
        self._marts, self._tiles, self._url = marts, tiles, url.rstrip("/")

    def app(self, hosts: Sequence[str], origins: Sequence[str] = ()) -> FastAPI:
        """Return the application.

        Parameters
        ----------
        hosts : sequence of str
            The host names that it answers to.
        origins : sequence of str
            Other sites whose pages may read answers; ``*`` for all.
        """
        methods = ["GET", "HEAD"]
        shared = Middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=methods, expose_headers=["*"])
        app = _App(
            title="Administrative boundaries",
            version=__version__,
            description="Administrative units and time zones: where a point lies, which units have a name, what is "
            "known of a unit, and all of them as OGC API Features. Nothing can be changed.",
            openapi_url="/api",
            docs_url=None,
            redoc_url=None,
            servers=[{"url": self._url}] if self._url else None,
            exception_handlers=handlers(),
            middleware=[
                Middleware(WithHeaders, headers={**TOLD, "Content-Security-Policy": POLICY}),
                Middleware(HeadAsGet),
                Middleware(OnlyHosts, names=hosts),
                *([shared] if origins else []),
                Middleware(AtMost, questions=AT_ONCE),
                Middleware(Bounded, most=MAX_BODY_BYTES),
            ],
        )
        self._add_pages(app)
        self._add_questions(app)
        self._add_features(app)
        self._add_tiles(app)
        return app

    def _add_pages(self, app: FastAPI) -> None:
        for path in files():
            app.add_api_route(f"/files/{path.name}", _file(path), include_in_schema=False)
        app.add_api_route("/alive", _alive, include_in_schema=False)
        app.add_api_route("/docs", _file(PAGES / "docs.html"), include_in_schema=False)

        @app.get("/", tags=["About"], responses={**PROBLEMS, **AS_PAGE}, response_model=dict[str, Any])
        def landing_page(request: Request, asked_for: Annotated[q.Formatted, Query()]) -> Response:
            """Say what is served, and where everything is."""
            wants = asked_for.f or ("html" if "text/html" in request.headers.get("accept", "") else "json")

            def describe(asked: Asked) -> dict[str, Any]:
                return {
                    "title": app.title,
                    "description": app.description,
                    **answers.about(asked),
                    "warnings": list(licences.warnings(asked.rights, "This service")),
                    "links": self._links(
                        request,
                        ("/", "self", "application/json", "This page"),
                        ("/?f=html", "alternate", "text/html", "This page, for people"),
                        ("/api", "service-desc", OPENAPI, "What can be asked, as OpenAPI"),
                        ("/docs", "service-doc", "text/html", "What can be asked, for people"),
                        ("/conformance", "conformance", "application/json", "Which standards this conforms to"),
                        ("/collections", "data", "application/json", "Levels and time zones"),
                        ("/licence", "license", "application/json", "What may be done with the answers"),
                    ),
                }

            told, build = self._marts.ask(lambda asked: (describe(asked), asked.build))
            headers = _headers(build, self._base(request)) | {"Vary": "Accept"}
            if wants == "html":
                return HTMLResponse(_templates.get_template("landing.html").render(**told), headers=headers)
            return JSONResponse(told, headers=headers)

        @app.get("/conformance", tags=["About"], responses=PROBLEMS, response_model=dict[str, list[str]])
        def conformance(_asked_for: Annotated[q.Plain, Query()]) -> dict[str, list[str]]:
            """Name the standards that the service conforms to."""
            return {"conformsTo": list(CONFORMS_TO)}

        @app.get("/licence", tags=["About"], responses={**PROBLEMS, **NOT_MODIFIED}, response_model=dict[str, Any])
        def licence(request: Request, _asked_for: Annotated[q.Plain, Query()]) -> Response:
            """Say what may be done with the answers, and whom to name: by licence, and how many units have it."""

            def tell(asked: Asked) -> str:
                rights = [
                    {
                        "licence": each.licence,
                        "attribution": each.attribution,
                        "source_name": each.source_name,
                        each.noun.replace(" ", "_"): each.count,
                    }
                    for each in asked.rights
                ]
                told = list(licences.warnings(asked.rights, "This service"))
                return _text({"licences": rights, "warnings": told, "about": answers.about(asked)})

            return self._answer(request, tell)

    def _add_questions(self, app: FastAPI) -> None:
        shared: dict[str, Any] = {"tags": ["Questions"], "responses": {**PROBLEMS, **NOT_MODIFIED}}

        @app.get("/locate", response_model=q.OnePlace, **shared)
        def locate(request: Request, point: Annotated[q.Point, Query()]) -> Response:
            """Tell the units and time zones at a point."""
            at = _time(point.at)
            metres = None if point.nearest is None else _metres(point.nearest)

            def tell(asked: Asked) -> str:
                found = answers.locate(asked, point.lon, point.lat, at=at, metres=metres)
                return self._told(request, asked, answer=found)

            return self._answer(request, tell)

        @app.post("/locate", response_model=q.Places, tags=["Questions"], responses=PROBLEMS)
        def locate_points(request: Request, _asked_for: Annotated[q.Plain, Query()], body: q.Points) -> Response:
            """Tell the units and time zones at many points, in their order."""
            return self._answer(
                request,
                lambda asked: self._told(request, asked, answers=answers.locate_points(asked, body.points)),
            )

        @app.get("/find", response_model=q.Names, **shared)
        def find(request: Request, name: Annotated[q.Name, Query()]) -> Response:
            """Find units by name: whole names come first, own names before variants and local names."""
            return self._answer(
                request,
                lambda asked: self._told(request, asked, **answers.find(asked, name.q, name.limit, name.country)),
            )

        @app.get("/units/{gid:path}", response_model=q.Feature, response_class=GeoJson, **shared)
        def unit(
            request: Request, gid: Annotated[q.Key, InPath()], asked_for: Annotated[q.OfUnit, Query()]
        ) -> Response:
            """Tell what is known of a unit: where it belongs, its names, time zones, codes, neighbours and faults."""

            def tell(asked: Asked) -> str:
                found = answers.unit(asked, gid, asked_for.geometry)
                return self._feature(request, asked, found)

            return self._answer(request, tell, GEOJSON)

    def _add_features(self, app: FastAPI) -> None:
        shared: dict[str, Any] = {"tags": ["OGC API Features"], "responses": {**PROBLEMS, **NOT_MODIFIED}}
        described = {**shared, "response_model": dict[str, Any]}

        @app.get("/collections", **described)
        def collections(request: Request, _asked_for: Annotated[q.Plain, Query()]) -> Response:
            """List the levels, and the time zones."""

            def tell(asked: Asked) -> str:
                found = [self._collection(request, asked, each) for each in features.collections(asked)]
                links = self._links(request, ("/collections", "self", "application/json", "This list"))
                return _text({"collections": found, "links": links, "about": answers.about(asked)})

            return self._answer(request, tell)

        @app.get("/collections/{collection}", **described)
        def one_collection(
            request: Request, collection: Annotated[q.Key, InPath()], _asked_for: Annotated[q.Plain, Query()]
        ) -> Response:
            """Describe a level, or the time zones."""
            return self._answer(
                request,
                lambda asked: _text(self._collection(request, asked, features.collection(asked, collection))),
            )

        @app.get(
            "/collections/{collection}/items", response_model=q.FeatureCollection, response_class=GeoJson, **shared
        )
        def items(
            request: Request, collection: Annotated[q.Key, InPath()], asked_for: Annotated[q.Items, Query()]
        ) -> Response:
            """Give features, page by page, in the order of their keys."""
            wanted = _wanted(asked_for)
            return self._answer(
                request, lambda asked: self._page(request, asked, collection, asked_for, wanted), GEOJSON
            )

        @app.get(
            "/collections/{collection}/items/{feature:path}", response_model=q.Feature, response_class=GeoJson, **shared
        )
        def item(
            request: Request,
            collection: Annotated[q.Key, InPath()],
            feature: Annotated[q.Key, InPath()],
            asked_for: Annotated[q.OfFeature, Query()],
        ) -> Response:
            """Give a feature."""

            def tell(asked: Asked) -> str:
                of = features.collection(asked, collection)
                found = features.one(asked, of, feature, asked_for.geometry)
                where = f"/collections/{of.id}"
                return self._feature(request, asked, found, (where, "collection", "application/json", of.title))

            return self._answer(request, tell, GEOJSON)

    def _add_tiles(self, app: FastAPI) -> None:
        responses: dict[int | str, dict[str, Any]] = {**PROBLEMS, **NOT_MODIFIED}

        @app.get("/tiles.json", tags=["Tiles"], responses=responses, response_model=dict[str, Any])
        def tilejson(request: Request, _asked_for: Annotated[q.Plain, Query()]) -> Response:
            """Tell what a map has to know of the tiles (TileJSON 3.0)."""

            def tell(asked: Asked) -> str:
                told = {
                    "tilejson": "3.0.0",
                    "name": ", ".join(f"{name} {release}" for name, release in asked.build.releases.items()),
                    "tiles": [f"{self._base(request)}/tiles/{{z}}/{{x}}/{{y}}.mvt"],
                    "attribution": asked.credit.get("attribution", ""),
                    **self._tiles.described(asked.build.id),
                    "about": answers.about(asked),
                }
                return _text(told)

            return self._answer(request, tell)

        @app.get(
            "/tiles/{z}/{x}/{y}.mvt",
            tags=["Tiles"],
            responses={
                **responses,
                204: {"description": "Nothing is there."},
            },
            response_class=Tile,
            response_description="The tile.",
        )
        def tile(
            request: Request,
            z: Annotated[int, InPath(ge=0, le=30)],
            x: Annotated[int, InPath(ge=0, lt=1 << 30)],
            y: Annotated[int, InPath(ge=0, lt=1 << 30)],
            _asked_for: Annotated[q.Plain, Query()],
        ) -> Response:
            """Give a vector tile of all levels and time zones."""
            is_packed = "gzip" in request.headers.get("accept-encoding", "")

            def tell(asked: Asked) -> bytes:
                found = self._tiles.tile(asked.build.id, z, x, y) or b""
                return found if is_packed or not found else unpacked(found)

            answer = self._answer(request, tell, MVT)
            answer.headers["Vary"] = "Accept-Encoding"
            if answer.status_code == 200 and not answer.body:
                answer.status_code = 204
                del answer.headers["content-length"]
            elif answer.status_code == 200 and is_packed:
                answer.headers["Content-Encoding"] = "gzip"
            return answer

    def _answer(
        self, request: Request, tell: Callable[[Asked], str | bytes], kind: str = "application/json"
    ) -> Response:
        """Ask, unless the client has the answer: it is the same as long as build and publications are."""
        known = {part.strip() for part in request.headers.get("if-none-match", "").split(",")}

        def question(asked: Asked) -> tuple[str | bytes | None, Build]:
            is_known = request.method == "GET" and asked.build.is_known and _tag(asked.build) in known
            return None if is_known else tell(asked), asked.build

        found, build = self._marts.ask(question)
        headers = _headers(build, self._base(request))
        if found is None:
            return Response(status_code=304, headers=headers)
        return Response(found, media_type=kind, headers=headers)

    def _told(self, request: Request, asked: Asked, **answer: Any) -> str:
        return _text({**answer, "about": answers.about(asked), "links": self._links(request, _itself(request))})

    def _feature(self, request: Request, asked: Asked, found: str, *more: tuple[str, str, str, str]) -> str:
        links = self._links(request, _itself(request, GEOJSON), *more)
        return f'{found[:-1]},"links":{_text(links)},"about":{_text(answers.about(asked))}}}'

    def _page(self, request: Request, asked: Asked, name: str, asked_for: q.Items, wanted: features.Wanted) -> str:
        of = features.collection(asked, name)
        page = features.page(asked, of, wanted)
        where = f"/collections/{of.id}"
        more = [(where, "collection", "application/json", of.title)]
        if page.next is not None:
            given = {**asked_for.model_dump(exclude_none=True, exclude_unset=True), "cursor": page.next}
            more.append((f"{where}/items?{urllib.parse.urlencode(given)}", "next", GEOJSON, "The next page"))
        links = self._links(request, _itself(request, GEOJSON), *more)
        matched = "" if page.matched is None else f'"numberMatched":{page.matched},'
        return (
            f'{{"type":"FeatureCollection","numberReturned":{len(page.features)},{matched}"links":{_text(links)},'
            f'"about":{_text(answers.about(asked))},"features":[{",".join(page.features)}]}}'
        )

    def _collection(self, request: Request, asked: Asked, of: features.Collection) -> dict[str, Any]:
        where = f"/collections/{of.id}"
        told: dict[str, Any] = {
            "id": of.id,
            "title": of.title,
            "itemType": "feature",
            "crs": [CRS84],
            "numberOfItems": of.count,
            "properties": list(of.properties),
            "filters": list(of.filters),
            **{key: value for key, value in asked.credit.items() if key != "licence"},
            "license": asked.credit.get("licence", ""),
            "links": self._links(
                request,
                (where, "self", "application/json", of.title),
                (f"{where}/items", "items", GEOJSON, f"{of.title}: the features"),
                ("/licence", "license", "application/json", "What may be done with them"),
            ),
        }
        if of.box:
            told["extent"] = {"spatial": {"bbox": [list(of.box)], "crs": CRS84}}
        return told

    def _links(self, request: Request, *links: tuple[str, str, str, str]) -> list[dict[str, str]]:
        base = self._base(request)
        return [{"href": f"{base}{path}", "rel": rel, "type": kind, "title": title} for path, rel, kind, title in links]

    def _base(self, request: Request) -> str:
        return self._url or str(request.base_url).rstrip("/")


def files() -> list[Path]:
    """Return the files of the pages: ours, and those of Swagger UI, where its package has them."""
    package = find_spec("fastapi_offline")
    if package is None or not package.submodule_search_locations:
        raise SettingsError("The package fastapi-offline is missing.", "Install the project again: make install")
    library = Path(package.submodule_search_locations[0]) / "static"
    return [PAGES / "docs.js", PAGES / "service.css", *(library / name for name in LIBRARY)]


def _file(path: Path) -> Callable[[], Any]:
    async def respond() -> Response:
        return FileResponse(path)

    return respond


async def _alive() -> Response:
    """Respond with ``ok``, without asking the marts; for health checks."""
    return PlainTextResponse("ok")


def _tag(build: Build) -> str:
    return f'W/"{build.tag}-{__version__}"'


def _headers(build: Build, base: str) -> dict[str, str]:
    """Return what the headers of an answer say of the build that it is from."""
    headers = {
        "Cache-Control": "no-cache",
        "Link": f'<{base}/licence>; rel="license"',
        "Marts-Build": build.id,
        "Marts-Release": ", ".join(f"{name} {release}" for name, release in build.releases.items()),
        "Marts-Stale": "true" if build.stale else "false",
    }
    if build.is_known:
        headers["ETag"] = _tag(build)
    if build.built_at:
        headers["Last-Modified"] = format_datetime(build.built_at, usegmt=True)
    return headers


def _itself(request: Request, kind: str = "application/json") -> tuple[str, str, str, str]:
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{urllib.parse.quote(request.url.path)}{query}", "self", kind, "This answer"


def _wanted(asked_for: q.Items) -> features.Wanted:
    chosen = {name: getattr(asked_for, name) for name in features.FILTERS}
    return features.Wanted(
        box=_box(asked_for.bbox),
        values={name: value for name, value in chosen.items() if value is not None},
        behind=asked_for.cursor,
        limit=min(asked_for.limit, features.MOST_FEATURES),
        shape=asked_for.geometry,
    )


def _box(text: str | None) -> features.Box | None:
    if text is None:
        return None
    numbers = [float(number) for number in text.split(",")]
    west, south, east, north = numbers if len(numbers) == 4 else (*numbers[:2], *numbers[3:5])
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise UsageError(
            f"bbox={text} is no box on Earth.", "Give west, south, east and north in degrees: -67.3,17.8,-65.2,18.6"
        )
    return west, south, east, north


def _time(text: str | None) -> Any:
    from admin_boundaries.timezones.local_time import time_of

    if text is None:
        return None
    time = time_of(text)
    if time is None:
        raise UsageError(
            f"at={text!r} is not a time.",
            "Give it as in 2026-03-29T00:30Z, or without the Z for what a clock shows there.",
        )
    return time


def _metres(text: str) -> float:
    from admin_boundaries.locate.distance import metres_of

    return metres_of(text)


def _text(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
