"""One request to a server, by libcurl: conditions, resume, stalls, and which answers are worth another attempt."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import certifi
import pycurl
import tenacity

from ingest import __version__
from ingest.errors import SourceInterrupted, SourceUnavailable
from ingest.sources.address import Source

log = logging.getLogger(__name__)

ATTEMPTS = 5
CONNECT_SECONDS = 30
STALL_SECONDS = 60  # no byte for so long: the transfer is abandoned and resumed
CURLE_FAULTS_FOR_GOOD = {pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_URL_MALFORMAT, pycurl.E_TOO_MANY_REDIRECTS}


@dataclass
class Validators:
    """What a server said of a file: kept beside it, sent back to ask whether it changed."""

    etag: str = ""
    last_modified: str = ""
    bytes: int = -1
    sha256: str = ""

    @classmethod
    def of(cls, path: Path) -> Validators:
        """Return what is kept beside a file; nothing where it is missing or damaged."""
        try:
            return cls(**json.loads(_beside(path).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()

    def keep(self, path: Path) -> None:
        """Write them beside a file."""
        _beside(path).write_text(json.dumps(asdict(self)), encoding="utf-8")


def forget(path: Path) -> None:
    """Have a file of the cache downloaded again next time, whatever the server says of it."""
    _beside(path).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return Path(f"{path}.json")


def retrying() -> tenacity.Retrying:
    """Return the loop of attempts at one address: five, with growing pauses, as long as a fault may pass."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SourceInterrupted),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=30),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        before_sleep=_say_that_it_is_tried_again,
        reraise=True,
    )


def _say_that_it_is_tried_again(state: tenacity.RetryCallState) -> None:
    fault = state.outcome.exception() if state.outcome else None
    text = fault.message if isinstance(fault, SourceInterrupted) else fault
    log.warning(
        "%s Attempt %s of %s follows in %.1f s.", text, state.attempt_number + 1, ATTEMPTS, state.upcoming_sleep
    )


@contextmanager
def handle(source: Source) -> Iterator[pycurl.Curl]:
    """Yield a handle that speaks http(s) only, follows a few redirects and gives up on a stalled server."""
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, source.location)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.NETRC, pycurl.NETRC_OPTIONAL)  # passwords stand in ~/.netrc, never in an address
    curl.setopt(pycurl.FOLLOWLOCATION, True)
    curl.setopt(pycurl.MAXREDIRS, 5)
    curl.setopt(pycurl.CONNECTTIMEOUT, CONNECT_SECONDS)
    curl.setopt(pycurl.LOW_SPEED_TIME, STALL_SECONDS)
    curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
    curl.setopt(pycurl.NOSIGNAL, True)
    curl.setopt(pycurl.USERAGENT, f"admin-boundaries/{__version__}")
    curl.setopt(pycurl.CAINFO, os.environ.get("SSL_CERT_FILE") or certifi.where())  # noqa: TID251  belongs to TLS
    try:
        yield curl
    finally:
        curl.close()


def request(
    source: Source,
    answer: Validators,
    *,
    head: bool = False,
    into: object = None,
    begun: int = 0,
    known: Validators | None = None,
    keep: Path | None = None,
) -> int:
    """Send one request, note the answer's validators in ``answer`` and return its status.

    ``begun`` > 0 asks for the rest of a file, on condition that it still is the ``known`` one; ``known`` alone asks
    for the file on condition that it changed. The body goes to ``into``; the validators are also kept beside
    ``keep`` before the first byte, so that a transfer that breaks off can be resumed.
    """
    headers: dict[str, str] = {}

    def on_header(line: bytes) -> None:
        text = line.decode("latin-1")
        if text.startswith("HTTP/"):
            headers.clear()
            headers[":status"] = [*text.split(), "", "0"][1]
        name, mark, value = text.partition(":")
        if mark:
            headers[name.strip().lower()] = value.strip()
        if not text.strip():
            _note(headers, answer, begun)
            if keep is not None and is_the_file():
                answer.keep(keep)

    def is_the_file() -> bool:
        """Tell whether the body is the file, or the part of it that was asked for."""
        if headers.get(":status") == "206":
            return headers.get("content-range", "").startswith(f"bytes {begun}-") and not _has_changed(known, answer)
        return headers.get(":status") == "200"

    def on_body(data: bytes) -> int:
        if into is None or not is_the_file():
            return len(data)
        if begun and headers[":status"] == "200" and not headers.get(":restarted"):
            into.seek(0)  # type: ignore[attr-defined]
            into.truncate(0)  # type: ignore[attr-defined]
            headers[":restarted"] = "yes"
        return int(into.write(data))  # type: ignore[attr-defined]

    with handle(source) as curl:
        curl.setopt(pycurl.HTTPHEADER, _conditions(known, begun))
        curl.setopt(pycurl.HEADERFUNCTION, on_header)
        curl.setopt(pycurl.WRITEFUNCTION, on_body)
        # A conditional question about a cached file must not bring the body along: the download follows by itself.
        curl.setopt(pycurl.NOBODY, head or into is None)
        try:
            curl.perform()
        except pycurl.error as error:
            code, message = error.args
            if code == pycurl.E_WRITE_ERROR:
                raise SourceUnavailable(
                    f"{source.public} cannot be written to this disk.",
                    "Is it full? Free some space, or set WAREHOUSE_HOME to another disk.",
                ) from error
            kind = SourceUnavailable if code in CURLE_FAULTS_FOR_GOOD else SourceInterrupted
            raise kind(
                f"{source.public}: {message}.", "Is the machine online? A local copy can be given with --source."
            ) from error
        status = int(curl.getinfo(pycurl.RESPONSE_CODE))
    if status in (408, 425, 429) or status >= 500:
        raise SourceInterrupted(f"{source.public} answered {status}.", "The server may be busy; try again later.")
    if (head or into is None) and status in (403, 405, 501):
        return status  # some servers, and most signed addresses, answer GET only
    if status >= 400 and status != 416:
        raise SourceUnavailable(
            f"{source.public} answered {status}.", "Check the release, or give a copy with --source."
        )
    if status == 206 and not is_the_file():
        if keep is not None and _has_changed(known, answer):
            keep.unlink()
        raise SourceInterrupted(f"{source.public} sent another part of the file than it was asked for.")
    return status


def _conditions(known: Validators | None, begun: int) -> list[str]:
    """Return the headers that ask for the rest of the known version, or for another version."""
    if known and begun:
        return [f"Range: bytes={begun}-", f"If-Range: {known.etag or known.last_modified}"]
    if known and known.etag:
        return [f"If-None-Match: {known.etag}"]
    if known and known.last_modified:
        return [f"If-Modified-Since: {known.last_modified}"]
    return []


def _has_changed(known: Validators | None, answer: Validators) -> bool:
    """Tell whether an answer is about another version; a part need not repeat all that was said of the whole."""
    if known is None:
        return False
    pairs = ((known.etag, answer.etag), (known.last_modified, answer.last_modified))
    return any(before and after and before != after for before, after in pairs)


def _note(headers: dict[str, str], answer: Validators, begun: int) -> None:
    length = headers.get("content-length", "")
    answer.etag = headers.get("etag", "")
    answer.last_modified = headers.get("last-modified", "")
    resumed = begun if headers.get(":status") == "206" else 0
    answer.bytes = int(length) + resumed if length.isdigit() else -1
    total = headers.get("content-range", "").rpartition("/")[2]
    if resumed and total.isdigit():  # a part may end before the file does
        answer.bytes = int(total)
