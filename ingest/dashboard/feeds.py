"""Keep open pages up to date: each page is rendered once a second for everybody who looks at it, and never for nobody.

One task renders all pages that are open, one after the other. So a hundred people who look on cost no more than one,
and take nothing from whoever asks for something else.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ingest.dashboard import views
from ingest.errors import IngestError

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0  # how often an open page is updated
QUIET_SECONDS = 15.0  # after this long without changes a comment is sent, so that no proxy closes the stream
MAX_STREAMS = 500  # each takes a connection, of which a process often has 1,024

Sections = Callable[[str], dict[str, str]]


@dataclass
class _Page:
    """A page that somebody looks at."""

    sections: Sections
    streams: int = 0
    version: int = 0
    found: dict[str, str] = field(default_factory=dict)  # the sections of this version
    update: str = ""  # what has changed since the version before, as JSON
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # set when there is another version

    def put(self, found: dict[str, str]) -> None:
        """Note the sections of the page; those that are not there stay as they are."""
        changed = {name: text for name, text in found.items() if self.found.get(name) != text}
        if changed:
            self.found |= changed
            self.update = json.dumps(changed)
            self.version += 1
            self.changed.set()
            self.changed = asyncio.Event()


class Feeds:
    """The updates of all open pages.

    Parameters
    ----------
    token : str
        What stands in the sections for the token of a session; empty if there are no buttons.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._pages: dict[str, _Page] = {}
        self._poller: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()

    def stream(self, key: str, sections: Sections, token: str) -> StreamingResponse | None:
        """Return a response that never ends: the sections of a page that change, as server-sent events.

        Parameters
        ----------
        key : str
            Identifies the page.
        sections : callable
            Renders its sections, with a token for their buttons.
        token : str
            The token of the session that looks at it.

        Returns
        -------
        StreamingResponse or None
            None if too many are open already.
        """
        if sum(page.streams for page in self._pages.values()) >= MAX_STREAMS:
            return None
        page = self._pages.setdefault(key, _Page(sections))
        page.streams += 1
        self._opened.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        return _Stream(self._events(page, token), lambda: self._close(key))

    def _close(self, key: str) -> None:
        self._pages[key].streams -= 1
        if self._pages[key].streams == 0:
            del self._pages[key]

    async def _events(self, page: _Page, token: str) -> AsyncIterator[str]:
        version = 0
        while True:
            changed = page.changed
            if page.version > version:
                text = page.update if page.version == version + 1 else json.dumps(page.found)
                version = page.version
                yield f"data: {text.replace(self._token, token) if self._token else text}\n\n"
                continue  # it may have changed while this was sent
            try:
                await asyncio.wait_for(changed.wait(), QUIET_SECONDS)
            except TimeoutError:
                yield ": nothing new\n\n"

    async def _poll(self) -> None:
        """Render all open pages, again and again, until none is open."""
        while self._pages:
            self._opened.clear()
            for page in list(self._pages.values()):
                page.put(await run_in_threadpool(self._sections, page))
            try:
                await asyncio.wait_for(self._opened.wait(), FRESH_SECONDS)
            except TimeoutError:
                continue

    def _sections(self, page: _Page) -> dict[str, str]:
        try:
            return {**page.sections(self._token), "trouble": ""}
        except IngestError as error:  # probably temporary: keep the stream open
            return {"trouble": views.section("trouble.html", text=error.message)}
        except Exception:
            log.exception("A page could not be rendered.")
            return {"trouble": views.section("trouble.html", text="This page could not be updated.")}


class _Stream(StreamingResponse):
    """Server-sent events, with something to do once nobody receives them any more."""

    def __init__(self, events: AsyncIterator[str], on_end: Callable[[], None]) -> None:
        headers = {"X-Accel-Buffering": "no"}  # a proxy that buffers would hold the events back
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the browser is gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()
