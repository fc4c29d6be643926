"""Serve the dashboard: the pages, updates of their sections as server-sent events, and the buttons; below it, the map.

Three checks keep other sites out. A request must name a host name of this server, which stops DNS rebinding. The press
of a button must come from a page of this server, according to the ``Origin`` header that the browser sends. It must
also carry the token that belongs to the browser's cookie, which browsers do not send from other sites
(``SameSite=Strict``). Everything on a page is escaped, and the content security policy allows only this server's files.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from admin_boundaries import licences
from ingest.dashboard import actions, feeds, metrics, views
from ingest.dashboard.explorer import POLICY, Explorer
from ingest.errors import IngestError, RunNotFound, SettingsError
from ingest.ledger import Ledger
from ingest.settings import Settings

FILES = Path(__file__).with_name("files")
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:/\s]+))(?::\d*)?")
COOKIE = "ingest_dashboard"
MAX_FORM_BYTES = 4096
MAX_NOTICES = 100
PRESSES = ", and can resume, retry and roll back. --read-only removes the buttons."
MAP = "/map"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with `no-referrer`, browsers send `Origin: null` with a form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class WithHeaders:
    """Add the security headers to every response, except those that it has."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] = HEADERS) -> None:
        self._app, self._headers = app, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  as ASGI has it
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sending)


class OnlyHosts:
    """Refuse requests to other host names; unlike that of Starlette, it knows IPv6 addresses."""

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app = app
        self._names = {_in_one_spelling(name) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] == "http" and _host_name(Headers(scope=scope).get("host", "")) not in self._names:
            answer = PlainTextResponse("Invalid host header", status_code=400)
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _host_name(header: str) -> str:
    """Return the name or address in a ``Host`` header, without its port; empty if it is malformed."""
    found = HOST.fullmatch(header)
    return _in_one_spelling(found[1] or found[2]) if found else ""


def _in_one_spelling(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().removesuffix(".")


class Dashboard:
    """The pages and buttons of one target, and its map.

    Parameters
    ----------
    settings, ledger
        Settings and ledger of the target.
    explorer : Explorer
        The map.
    is_read_only : bool
        Show no buttons and accept no actions.
    workers : int
        Worker processes to start if no consumer is running.
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, explorer: Explorer, *, is_read_only: bool = False, workers: int = 3
    ) -> None:
        self._settings, self._ledger, self._explorer = settings, ledger, explorer
        self._is_read_only, self._workers = is_read_only, workers
        self._key = secrets.token_bytes(32)
        self._notices: dict[str, tuple[str, str]] = {}
        self._marts = views.Marts(settings)
        self._feeds = feeds.Feeds("" if is_read_only else secrets.token_hex(32))

    def app(self, hosts: Sequence[str]) -> Starlette:
        """Return the application, which answers only requests to the given host names."""
        return _guarded(
            [
                Route("/", self.overview),
                Route("/events", self.overview_events),
                Route("/runs/{run_id}", self.run),
                Route("/runs/{run_id}/events", self.run_events),
                Route("/runs/{run_id}/resume", partial(self.press, actions.resume), methods=["POST"]),
                Route("/runs/{run_id}/retry", partial(self.press, actions.retry), methods=["POST"]),
                Route("/datasets/{dataset}/rollback", partial(self.press, actions.rollback), methods=["POST"]),
                Route("/alive", self.alive),
                *metrics.Monitor(self._settings, self._ledger, self._marts).routes(),
                Mount("/files", StaticFiles(directory=FILES)),
                _map(self._explorer),
            ],
            hosts,
            {IngestError: self._error_page},
        )

    async def overview(self, request: Request) -> Response:
        """Respond with the overview page."""
        return await self._page(request, "overview.html", self._overview)

    async def run(self, request: Request) -> Response:
        """Respond with the page of a run."""
        return await self._page(request, "run.html", self._of_run(request))

    async def overview_events(self, request: Request) -> Response:
        """Stream the sections of the overview page that change."""
        return self._stream(request, self._overview)

    async def run_events(self, request: Request) -> Response:
        """Stream the sections of the page of a run that change."""
        await run_in_threadpool(self._ledger.run, request.path_params["run_id"])
        return self._stream(request, self._of_run(request))

    async def alive(self, _request: Request) -> Response:
        """Respond with ``ok`` if the ledger answers, else with an error; for health checks."""
        await run_in_threadpool(self._ledger.now)
        return PlainTextResponse("ok")

    async def press(self, action: actions.Action, request: Request) -> Response:
        """Execute the action of a button, and redirect to the page that it is on."""
        session = request.cookies.get(COOKIE, "")
        form = await self._form(request)
        if self._is_read_only:
            return PlainTextResponse("This dashboard is read-only.", status_code=403)
        if not _is_own_origin(request) or not session or not self._is_token(session, form.get("token", "")):
            return PlainTextResponse(
                "Refused: this did not come from a page of this dashboard. Reload the page and try again.",
                status_code=403,
            )
        subject = next(iter(request.path_params.values()))
        try:
            notice = ("good", await run_in_threadpool(action, self._ledger, subject, self._workers))
        except IngestError as error:
            notice = ("bad", views.plain(self._settings, str(error)))
        if len(self._notices) >= MAX_NOTICES:
            self._notices.pop(next(iter(self._notices)))
        self._notices[session] = notice
        back = f"/runs/{subject}" if form.get("page") == "run" else "/"
        return RedirectResponse(back, status_code=303)

    def _overview(self, token: str) -> dict[str, str]:
        return views.overview(self._settings, self._ledger, token, self._marts)

    def _of_run(self, request: Request) -> Callable[[str], dict[str, str]]:
        run_id = request.path_params["run_id"]
        return lambda token: views.run(self._settings, self._ledger, run_id, token)

    async def _page(self, request: Request, name: str, sections: Callable[[str], dict[str, str]]) -> Response:
        session = request.cookies.get(COOKIE) or secrets.token_urlsafe(24)
        shown = await run_in_threadpool(sections, self._token(session))
        notice = self._notices.pop(session, None)
        events = request.url.path.rstrip("/") + "/events"
        answer = HTMLResponse(views.page(name, sections=shown, notice=notice, events=events, settings=self._settings))
        answer.set_cookie(COOKIE, session, httponly=True, samesite="strict", path="/")
        return answer

    def _stream(self, request: Request, sections: Callable[[str], dict[str, str]]) -> Response:
        stream = self._feeds.stream(request.url.path, sections, self._token(request.cookies.get(COOKIE, "")))
        if stream is None:
            return PlainTextResponse(
                "Too many pages are open. Reload this one later.", status_code=503, headers={"Retry-After": "60"}
            )
        return stream

    def _token(self, session: str) -> str:
        """Return the token of a session; empty if the dashboard is read-only."""
        return "" if self._is_read_only else hmac.new(self._key, session.encode(), hashlib.sha256).hexdigest()

    def _is_token(self, session: str, token: str) -> bool:
        return hmac.compare_digest(self._token(session).encode(), token.encode())

    async def _form(self, request: Request) -> dict[str, str]:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM_BYTES:
                return {}
        return dict(urllib.parse.parse_qsl(body.decode(errors="replace")))

    async def _error_page(self, _request: Request, error: Exception) -> Response:
        status = 404 if isinstance(error, RunNotFound) else 503
        text = views.plain(self._settings, str(error))
        return HTMLResponse(views.page("fault.html", text=text, settings=self._settings), status_code=status)


def _guarded(
    routes: Sequence[BaseRoute], hosts: Sequence[str], handlers: Mapping[Any, ExceptionHandler] | None = None
) -> Starlette:
    """Return an application that answers only requests to the given host names."""
    middleware = [Middleware(WithHeaders), Middleware(OnlyHosts, names=hosts)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


def _map(explorer: Explorer) -> Mount:
    headers = {"Content-Security-Policy": POLICY}
    return Mount(MAP, routes=explorer.routes(), middleware=[Middleware(WithHeaders, headers=headers)])


def _is_own_origin(request: Request) -> bool:
    """Whether a request comes from a page of this server, according to its ``Origin``, which every browser sends."""
    scheme, _, host = request.headers.get("origin", "").partition("://")
    return scheme in ("http", "https") and host.lower() == request.headers.get("host", "").lower() != ""


def names_of(host: str, more: Sequence[str] = ()) -> list[str]:
    """Return the host names that a server listening on ``host`` answers to."""
    names = {"localhost", "127.0.0.1", "::1", host, socket.gethostname(), socket.getfqdn(), *more}
    return sorted({name for name in names if name and name not in ("0.0.0.0", "::")})  # noqa: S104  not bound here


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    names: Sequence[str],
    is_read_only: bool,
    workers: int,
    of_datasets: licences.OfDatasets,
    report: Callable[[str], None],
    draw: Callable[[Explorer], None] | None = None,
) -> None:
    """Serve the dashboard and the map until a signal stops it.

    Parameters
    ----------
    settings : Settings
        Of the target, and the dataset whose marts time zones are compared with and the map is drawn from.
    host, port
        Address and port to listen on; port 0 picks a free one.
    names : sequence of str
        Further host names to answer to.
    is_read_only : bool
        Show no buttons and accept no actions.
    workers : int
        Worker processes to start if no consumer is running.
    of_datasets : mapping of str to (str, str, str)
        See `admin_boundaries.tiles.archive.write`.
    report : callable
        Called with lines for the user, such as the URL, once the server listens.
    draw : callable, optional
        Draws the tiles of the map before anything is served, whose URL is reported then. Without it, they are drawn
        when somebody opens the map.

    Raises
    ------
    SettingsError
        When the address or port cannot be used.
    """
    explorer = Explorer(settings, of_datasets)
    if draw:
        draw(explorer)
    ledger = Ledger(settings)
    try:
        ledger.open()
    except IngestError as error:
        if not draw:
            raise
        report(f"The map is served without the dashboard: {error.message}")
        app, open_to = _guarded([_map(explorer)], names_of(host, names)), "the map."
    else:
        dashboard = Dashboard(settings, ledger, explorer, is_read_only=is_read_only, workers=workers)
        app = dashboard.app(names_of(host, names))
        open_to = "every run and the map" + ("." if is_read_only else PRESSES)
    name, path = ("map", f"{MAP}/") if draw else ("dashboard", "/")
    listen(app, name, host, port, report, open_to, path)


def listen(
    app: Starlette, name: str, host: str, port: int, report: Callable[[str], None], open_to: str, path: str = "/"
) -> None:
    """Serve an application until a signal stops it; ``open_to`` is what everyone sees who reaches the address.

    Raises
    ------
    SettingsError
        When the address or port cannot be used.
    """
    host = host.removeprefix("[").removesuffix("]")
    shown = f"[{host}]" if ":" in host else host
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise SettingsError(f"Cannot listen on {shown}:{port}: {error.strerror}.", "Choose another --port.") from error
    report(f"{name}  http://{shown}:{listener.getsockname()[1]}{path}  (Ctrl-C stops it)")
    if not _is_loopback(host):
        report(f"There is no password: anyone who can reach this address sees {open_to}")
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=1, workers=1)
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
