"""One HTTP request with libcurl: conditions, resume, stalls, and which failures are worth a retry."""

from __future__ import annotations

import json
import logging
import netrc
import os
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import certifi
import pycurl
import tenacity

from ingest import __version__
from ingest.errors import SourceInterrupted, SourceUnavailable
from ingest.settings import proxies
from ingest.sources import network
from ingest.sources.address import Source

log = logging.getLogger(__name__)

ATTEMPTS = 5
CONNECT_SECONDS = 30
STALL_SECONDS = 60  # without a byte for this long, the transfer is aborted and resumed
PERMANENT_CURL_ERRORS = {pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_URL_MALFORMAT, pycurl.E_TOO_MANY_REDIRECTS}


@dataclass
class Validators:
    """A server's validators of a file: stored next to it, and sent back to ask whether it has changed."""

    etag: str = ""
    last_modified: str = ""
    bytes: int = -1
    sha256: str = ""

    @classmethod
    def of(cls, path: Path) -> Validators:
        """Return the validators stored next to a file; empty ones if they are missing or damaged."""
        try:
            return cls(**json.loads(_beside(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def keep(self, path: Path) -> None:
        """Store the validators next to a file."""
        _beside(path).write_text(json.dumps(asdict(self)), encoding="utf-8")


def forget(path: Path) -> None:
    """Delete the validators of a cached file, so that it is downloaded again next time."""
    _beside(path).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return Path(f"{path}.json")


def retrying() -> tenacity.Retrying:
    """Return the retry loop for one address: up to `ATTEMPTS`, with growing pauses, for temporary failures."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SourceInterrupted),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=30),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        before_sleep=_log_retry,
        reraise=True,
    )


def _log_retry(state: tenacity.RetryCallState) -> None:
    fault = state.outcome.exception() if state.outcome else None
    text = fault.message if isinstance(fault, SourceInterrupted) else fault
    log.warning(
        "%s Retrying in %.1f s (attempt %s of %s).", text, state.upcoming_sleep, state.attempt_number + 1, ATTEMPTS
    )


@contextmanager
def handle(source: Source) -> Iterator[pycurl.Curl]:
    """Yield a curl handle that is limited to http(s) and a few redirects, and aborts a stalled transfer.

    A redirect never leads from https to http. The password of a source goes to its own host and port only. If only
    public addresses may be reached, see `ingest.sources.network`, that is so for redirects, too.

    Raises
    ------
    SourceUnavailable
        When the source or a redirect leads to an address that is not public, and must be.
    """
    refused: list[str] = []
    is_encrypted = source.location.startswith("https://")
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, source.location.encode())
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTPS | (0 if is_encrypted else pycurl.PROTO_HTTP))
    # curl's own reading of ~/.netrc would also give a password to the host that a redirect leads to
    curl.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
    if login := _login(source):
        curl.setopt(pycurl.USERNAME, login[0].encode())
        curl.setopt(pycurl.PASSWORD, login[1].encode())
    curl.setopt(pycurl.FOLLOWLOCATION, True)
    curl.setopt(pycurl.MAXREDIRS, 5)
    curl.setopt(pycurl.CONNECTTIMEOUT, CONNECT_SECONDS)
    curl.setopt(pycurl.LOW_SPEED_TIME, STALL_SECONDS)
    curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
    curl.setopt(pycurl.NOSIGNAL, True)
    curl.setopt(pycurl.USERAGENT, f"admin-boundaries/{__version__}")
    curl.setopt(pycurl.CAINFO, os.environ.get("SSL_CERT_FILE") or certifi.where())  # noqa: TID251  OpenSSL's own
    if network.is_limited():
        _limit(curl, source, refused)
    try:
        yield curl
    except (pycurl.error, SourceUnavailable) as error:
        fault = error if isinstance(error, pycurl.error) else error.__cause__
        if not (refused and isinstance(fault, pycurl.error) and fault.args[0] == pycurl.E_COULDNT_CONNECT):
            raise
        raise SourceUnavailable(
            f"{source.public} leads to {refused[0]}, which is not a public address.",
            "INGEST_NO_PRIVATE_ADDRESSES or --no-private-addresses forbids it. Give the file as a path.",
        ) from error
    finally:
        curl.close()


def _limit(curl: pycurl.Curl, source: Source, refused: list[str]) -> None:
    """Let a handle connect to public addresses only, and directly: what a proxy connects to cannot be checked here."""
    if proxies():
        curl.close()
        raise SourceUnavailable(
            f"{source.public} would be asked through a proxy, which may reach private addresses.",
            f"Unset {' and '.join(proxies())} for servers that are reached directly; or unset "
            "INGEST_NO_PRIVATE_ADDRESSES, and let the proxy refuse such addresses.",
        )
    make = network.opener(refused)
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.OPENSOCKETFUNCTION, lambda purpose, address: make(purpose, address) or pycurl.SOCKET_BAD)


def _login(source: Source) -> tuple[str, str] | None:
    """Return the user name and password that ``~/.netrc`` has for the host of a source, if any."""
    host = urllib.parse.urlsplit(source.location).hostname or ""
    try:
        found = netrc.netrc().authenticators(host)
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, OSError, UnicodeError) as error:
        raise SourceUnavailable(f"~/.netrc cannot be read: {error}.", "Correct it; `chmod 600 ~/.netrc`.") from error
    return (found[0], found[2]) if found and found[2] else None


def ask(source: Source, seconds: int, hint: str, *, max_bytes: int = 0) -> tuple[str, bytes]:
    """Return the address at the end of all redirects, and what it answers.

    Parameters
    ----------
    source : Source
        The address to ask.
    seconds : int
        How long the answer may take.
    hint : str
        What to do if there is nothing at the address.
    max_bytes : int
        Maximum size of the answer; 0 asks for its headers only.

    Raises
    ------
    SourceUnavailable
        When the address does not answer with success, or the answer is larger (``SourceInterrupted`` if a later attempt
        may succeed).
    """
    body = bytearray()

    def on_body(data: bytes) -> int:
        body.extend(data)
        return len(data) if len(body) <= max_bytes else 0

    with handle(source) as curl:
        curl.setopt(pycurl.NOBODY, max_bytes == 0)
        curl.setopt(pycurl.WRITEFUNCTION, on_body)
        curl.setopt(pycurl.TIMEOUT, seconds)
        try:
            curl.perform()
        except pycurl.error as error:
            if len(body) > max_bytes:
                raise SourceUnavailable(f"{source.public} answered more than {max_bytes:,} bytes.", hint) from error
            raise SourceInterrupted(f"{source.public}: {error.args[1]}.", "Is the machine online?") from error
        status, reached = int(curl.getinfo(pycurl.RESPONSE_CODE)), str(curl.getinfo(pycurl.EFFECTIVE_URL))
    if status == 429 or status >= 500:
        raise SourceInterrupted(f"{source.public} answered {status}.", "The server may be busy. Try again later.")
    if status >= 400:
        raise SourceUnavailable(f"{source.public} answered {status}.", hint)
    return reached, bytes(body)


def request(
    source: Source,
    answer: Validators,
    *,
    head: bool = False,
    into: object = None,
    offset: int = 0,
    known: Validators | None = None,
    keep: Path | None = None,
) -> int:
    """Send one request, copy the response's validators into ``answer``, and return the status.

    With ``offset`` > 0, the rest of the file is requested on condition that the file is still the ``known`` version.
    With ``known`` alone, the file is requested on condition that it has changed. The body is written to ``into``. The
    validators are also stored next to ``keep`` before the first byte of the body, so that an interrupted transfer can
    be resumed.
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
            _note(headers, answer, offset)
            if keep is not None and is_the_file():
                answer.keep(keep)

    def is_the_file() -> bool:
        """Return whether the body is the file, or the requested part of it."""
        if headers.get(":status") == "206" and offset:
            return headers.get("content-range", "").startswith(f"bytes {offset}-") and not _has_changed(known, answer)
        return headers.get(":status") == "200"

    def on_body(data: bytes) -> int:
        if into is None or not is_the_file():
            return len(data)
        if offset and headers[":status"] == "200" and not headers.get(":restarted"):
            into.seek(0)  # type: ignore[attr-defined]
            into.truncate(0)  # type: ignore[attr-defined]
            headers[":restarted"] = "yes"
        return int(into.write(data))  # type: ignore[attr-defined]

    with handle(source) as curl:
        curl.setopt(pycurl.HTTPHEADER, [line.encode("latin-1") for line in _conditions(known, offset)])
        curl.setopt(pycurl.HEADERFUNCTION, on_header)
        curl.setopt(pycurl.WRITEFUNCTION, on_body)
        # A conditional request about a cached file must not transfer the body: the download is a separate request.
        curl.setopt(pycurl.NOBODY, head or into is None)
        try:
            curl.perform()
        except pycurl.error as error:
            code, message = error.args
            if code == pycurl.E_WRITE_ERROR:
                raise SourceUnavailable(
                    f"{source.public} cannot be written to this disk.",
                    "Free some space if the disk is full, or set WAREHOUSE_HOME to another disk.",
                ) from error
            kind = SourceUnavailable if code in PERMANENT_CURL_ERRORS else SourceInterrupted
            raise kind(
                f"{source.public}: {message}.", "Check that this machine is online, or give a local copy with --source."
            ) from error
        status = int(curl.getinfo(pycurl.RESPONSE_CODE))
    if status in (408, 425, 429) or status >= 500:
        raise SourceInterrupted(f"{source.public} answered {status}.", "Try again later; the server may be busy.")
    if (head or into is None) and status in (403, 405, 501):
        return status  # some servers, and most signed addresses, accept GET only
    if status >= 400 and status != 416:
        raise SourceUnavailable(
            f"{source.public} answered {status}.", "Check the release, or give a copy with --source."
        )
    if status == 206 and not offset:
        raise SourceInterrupted(f"{source.public} sent a part of the file, and all of it was requested.")
    if status == 206 and not is_the_file():
        if keep is not None and _has_changed(known, answer):
            keep.unlink()
        raise SourceInterrupted(f"{source.public} sent a different part of the file than was requested.")
    return status


def _conditions(known: Validators | None, offset: int) -> list[str]:
    """Return the headers that request the rest of the known version, or any other version."""
    if known and offset:
        return [f"Range: bytes={offset}-", f"If-Range: {known.etag or known.last_modified}"]
    if known and known.etag:
        return [f"If-None-Match: {known.etag}"]
    if known and known.last_modified:
        return [f"If-Modified-Since: {known.last_modified}"]
    return []


def _has_changed(known: Validators | None, answer: Validators) -> bool:
    """Return whether a response is about another version; a partial response may omit validators."""
    if known is None:
        return False
    pairs = ((known.etag, answer.etag), (known.last_modified, answer.last_modified))
    return any(before and after and before != after for before, after in pairs)


def _note(headers: dict[str, str], answer: Validators, offset: int) -> None:
    length = headers.get("content-length", "")
    answer.etag = headers.get("etag", "")
    answer.last_modified = headers.get("last-modified", "")
    resumed = offset if headers.get(":status") == "206" else 0
    answer.bytes = int(length) + resumed if length.isdigit() else -1
    total = headers.get("content-range", "").rpartition("/")[2]
    if resumed and total.isdigit():  # a part may end before the file does
        answer.bytes = int(total)
