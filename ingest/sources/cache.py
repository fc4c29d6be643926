"""Bring a source onto this machine: download with resume, verify, unpack safely.

The transfer is libcurl's (``pycurl``), the retries are ``tenacity``'s; what is here is the cache. A file is kept
under a name made from its address and is asked for again with its validators, so that an unchanged file costs one
answer without a body.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import logging
import lzma
import mmap
import os
import re
import shutil
import stat
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import certifi
import filelock
import pycurl
import tenacity

from ingest import __version__
from ingest.errors import (
    ArchiveInvalid,
    ChecksumMismatch,
    FormatUnknown,
    SourceInterrupted,
    SourceUnavailable,
    UsageError,
)

log = logging.getLogger(__name__)

ATTEMPTS = 5
CONNECT_SECONDS = 30
STALL_SECONDS = 60  # no byte for so long: the transfer is given up and resumed
CHUNK_BYTES = 1 << 20
ZIP_HEAD = b"PK\x03\x04"
UNPACK_RATIO = 200  # a zip that claims to grow by more than this is a bomb; GADM's grow by 4
UNPACK_FREE_BYTES = 1 << 28  # what must stay free on the disk after unpacking
READABLE = {".gpkg", ".shp", ".shx", ".dbf", ".prj", ".cpg", ".geojson", ".json"}
# The member "crs" of a GeoJSON, however it may be spelt, and what may stand behind it: GDAL fetches one of type "link".
CRS_KEY = re.compile(
    rb"""["'](?:c|\\u00[46]3)(?:r|\\u00[57]2)(?:s|\\u00[57]3)(?:\\u0000[^"']*)?["'](?:\s|/\*.*?\*/|//[^\n]*\n)*:\s*""",
    re.IGNORECASE | re.DOTALL,
)
CRS_HARMLESS = re.compile(
    rb"""[^{/\s]|\{\s*"type"\s*:\s*"name"\s*,\s*"properties"\s*:\s*\{\s*"name"\s*:\s*"[^"\\]*"\s*\}\s*\}"""
)
CURLE_FAULTS_FOR_GOOD = {pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_URL_MALFORMAT, pycurl.E_TOO_MANY_REDIRECTS}


@dataclass(frozen=True)
class Source:
    """A file, folder or URL to load from.

    ``URL#sha256=HEX`` (or the same behind a path) also says which checksum the file must have.
    """

    location: str
    sha256: str | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Split the checksum off a location.

        Raises
        ------
        UsageError
            When the checksum is none, the address is malformed, or it holds a user's name or password.
        """
        location, mark, digest = text.partition("#sha256=")
        if mark and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise UsageError("What stands behind #sha256= is no SHA-256.", "It has 64 hexadecimal digits.")
        _, has_authority, rest = location.partition("://")
        if has_authority and "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
            raise UsageError(
                "A source must not hold a user's name or password.",
                "Write them into ~/.netrc of whoever runs the workers: machine HOST login NAME password PASSWORD",
            )
        source = cls(location, digest.lower() if mark else None)
        try:
            urllib.parse.urlsplit(location if source.is_remote else "")
        except ValueError as error:
            raise UsageError(f"The address of a source is malformed: {error}.", "Check --source.") from error
        return source

    @property
    def has_query(self) -> bool:
        """Whether the address has a query: what signs an address stands there, so it is kept like a password."""
        return self.is_remote and "?" in self.location.partition("#")[0]

    @property
    def noted(self) -> str:
        """What the ledger notes, and `parse` reads: a query is gone, only its question mark is left."""
        noted = f"{self.public}?" if self.has_query else self.public
        return f"{noted}#sha256={self.sha256}" if self.sha256 else noted

    @property
    def is_remote(self) -> bool:
        """Whether the source is behind http(s)."""
        return self.location.startswith(("http://", "https://"))

    @property
    def public(self) -> str:
        """The location without any password or query, for messages, logs and the ledger."""
        if not self.is_remote:
            return self.location
        parts = urllib.parse.urlsplit(self.location)
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True)
class Fetched:
    """A source on this machine's disk.

    Attributes
    ----------
    path : Path
        The file, or the folder.
    bytes : int
        Size of the file, or of all files of the folder.
    sha256 : str or None
        Checksum of the file, or of the names and checksums of the folder's files. None for a single file on this disk
        that nothing has to be compared with: `checksum` reads it when there is time.
    was_cached : bool
        Whether nothing had to be transferred.
    """

    path: Path
    bytes: int
    sha256: str | None
    was_cached: bool


@dataclass
class _Validators:
    """What a server said of a file: kept beside it, sent back to ask whether it changed."""

    etag: str = ""
    last_modified: str = ""
    bytes: int = -1
    sha256: str = ""


def identity(source: Source) -> str | None:
    """Return what tells this version of a source from another, without reading it.

    Returns
    -------
    str or None
        Path, size and time of a local file; ETag, time and size of a remote one; None where a server says none of
        these.

    Raises
    ------
    SourceUnavailable
        When there is no such file, or no server answers.
    """
    if not source.is_remote:
        path = _local_path(source)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        stats = [(str(file), file.stat()) for file in files if file.is_file()]
        return json.dumps([[name, entry.st_size, entry.st_mtime_ns] for name, entry in stats])
    validators = _Validators()
    for attempt in retrying():
        with attempt:
            status = _request(source, validators, head=True)
    if status != 200 or not (validators.etag or validators.last_modified):
        return None
    return json.dumps([source.location, validators.etag, validators.last_modified, validators.bytes])


def fetch(source: Source, downloads: Path, known_sha256: str | None = None) -> Fetched:
    """Bring a source onto this disk and verify it.

    A transfer that breaks off is resumed where it stopped, five times with growing pauses. Two processes that want the
    same file share one transfer.

    Parameters
    ----------
    source : Source
        What to fetch.
    downloads : Path
        Folder of the cache.
    known_sha256 : str, optional
        Checksum of the version that another task has verified: where it is on this disk, nothing is asked or read
        again.

    Returns
    -------
    Fetched

    Raises
    ------
    SourceUnavailable
        When the file cannot be had (``SourceInterrupted``: not now).
    ChecksumMismatch
        When it is not the file that ``sha256`` names.
    """
    if not source.is_remote:
        path = _local_path(source)
        sha256 = known_sha256
        if sha256 is None and (source.sha256 or path.is_dir() or _is_zip(path)):
            sha256 = checksum(path)
            _verify(source, sha256)
        return Fetched(path, _size(path), sha256, was_cached=True)
    name = PurePosixPath(urllib.parse.urlsplit(source.location).path).name or "download"
    folder = downloads / hashlib.sha256(source.location.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / re.sub(r"[^\w.-]", "_", name)
    with filelock.FileLock(f"{path}.lock"):
        if known_sha256 and path.exists() and _read_validators(path).sha256 == known_sha256:
            return Fetched(path, path.stat().st_size, known_sha256, was_cached=True)
        for attempt in retrying():
            with attempt:
                was_cached = _transfer(source, path)
        validators = _read_validators(path)
        try:
            _verify(source, validators.sha256)
        except ChecksumMismatch:
            _forget(path)
            raise
        return Fetched(path, path.stat().st_size, validators.sha256, was_cached)


def unpack(fetched: Fetched, home: Path) -> Path:
    """Unpack a zip beside the cache, once per checksum; anything else is returned as it is.

    Only the members that can be read as layers are written. Names that climb out, links, encrypted members and
    archives that grow beyond reason are refused before a byte is written.

    Parameters
    ----------
    fetched : Fetched
        What was fetched.
    home : Path
        Folder below which ``unpacked`` is kept.

    Returns
    -------
    Path
        The folder of the members, or the path itself.

    Raises
    ------
    ArchiveInvalid
        When the zip is damaged, hostile, or holds nothing that can be read.
    """
    path = fetched.path
    if fetched.sha256 is None or path.is_dir() or not _is_zip(path):
        return path
    if not zipfile.is_zipfile(path):
        if path.is_relative_to(home / "downloads"):
            _forget(path)
        with path.open("rb") as file:
            is_cut_off = file.read(len(ZIP_HEAD)) == ZIP_HEAD
        what = "damaged: its end is missing" if is_cut_off else f"no zip archive: {_looks_like(path)}"
        raise ArchiveInvalid(f"{path.name} is {what}.", "Download it again, or check the address.")
    folder = _unpacked_folder(fetched.sha256, home)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return folder
        draft = folder.with_suffix(f".{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _extract(path, draft)
            draft.rename(folder)
        except ArchiveInvalid:
            if path.is_relative_to(home / "downloads"):
                _forget(path)
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def unpacked(sha256: str, home: Path) -> Path | None:
    """Return the folder of an archive that was unpacked on this host, None where it was not."""
    folder = _unpacked_folder(sha256, home)
    return folder if folder.is_dir() else None


def _unpacked_folder(sha256: str, home: Path) -> Path:
    return home / "unpacked" / sha256[:16]


def _extract(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if _is_wanted(path, member)]
            if not members:
                raise ArchiveInvalid(f"{path.name} holds no GeoPackage, shapefile or GeoJSON.")
            grown = sum(member.file_size for member in members)
            if grown > UNPACK_RATIO * max(path.stat().st_size, CHUNK_BYTES):
                raise ArchiveInvalid(f"{path.name} would grow to {grown:,} bytes: refused as a zip bomb.")
            free = shutil.disk_usage(folder.parent).free
            if grown > free - UNPACK_FREE_BYTES:
                raise ArchiveInvalid(
                    f"{path.name} needs {grown:,} bytes and {folder.parent} has {free:,} free.",
                    "Free some space, or set WAREHOUSE_HOME to another disk.",
                )
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, target.open("xb") as file:
                    shutil.copyfileobj(packed, file, CHUNK_BYTES)
                    if file.tell() != member.file_size:
                        raise ArchiveInvalid(f"{member.filename} in {path.name} is not as long as the archive says.")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError) as error:
        raise ArchiveInvalid(f"{path.name} is damaged: {error}.", "Download it again.") from error
    except OSError as error:
        raise ArchiveInvalid(
            f"{path.name} cannot be unpacked in {folder.parent}: {error.strerror or error}.",
            "Is the disk full? Otherwise the archive is damaged; download it again.",
        ) from error


def _is_wanted(path: Path, member: zipfile.ZipInfo) -> bool:
    """Tell whether a member is read, after making sure that it is harmless."""
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename:
        raise ArchiveInvalid(f"{path.name} has a member that climbs out of the archive: {member.filename!r}.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ArchiveInvalid(f"{path.name} has a symbolic link as a member: {member.filename!r}.")
    if member.flag_bits & 0x1:
        raise ArchiveInvalid(f"{path.name} is encrypted.")
    is_folder = member.filename.endswith("/") or not name.parts
    return not is_folder and name.suffix.lower() in READABLE and "__MACOSX" not in name.parts


def _local_path(source: Source) -> Path:
    if "://" in source.location and not source.location.startswith("file://"):
        scheme = source.location.partition("://")[0]
        raise SourceUnavailable(
            f"{scheme}:// cannot be read.", "Give a path, or an address that begins with http(s)://."
        )
    path = Path(urllib.parse.unquote(source.location.removeprefix("file://"))).absolute()
    if not path.exists():
        raise SourceUnavailable(f"There is no file {path}.", "Check the path given to --source.")
    if not os.access(path, os.R_OK):
        raise SourceUnavailable(f"{path} may not be read by this user.")
    return path


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and checksums of a folder's files."""
    if path.is_dir():
        lines = (f"{file.relative_to(path)} {checksum(file)}" for file in _files(path))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(source: Source, sha256: str) -> None:
    if source.sha256 and source.sha256 != sha256:
        raise ChecksumMismatch(
            f"{source.public} has the SHA-256 {sha256}, not {source.sha256}.",
            "The file is damaged or another one; check the address and the checksum.",
        )


def _looks_like(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(512).lstrip()
    if head.lower().startswith((b"<!doctype html", b"<html")):
        return "it is an HTML page, most likely a server's error"
    if head.startswith(ZIP_HEAD):
        return "it begins like a zip archive"
    return "it is empty" if not head else f"it begins with {head[:8]!r}"


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


def _read_validators(path: Path) -> _Validators:
    try:
        return _Validators(**json.loads(Path(f"{path}.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return _Validators()


def _forget(path: Path) -> None:
    """Have a file of the cache downloaded anew the next time, whatever the server says of it."""
    Path(f"{path}.json").unlink(missing_ok=True)


def _write_validators(path: Path, validators: _Validators) -> None:
    Path(f"{path}.json").write_text(json.dumps(asdict(validators)), encoding="utf-8")


def _transfer(source: Source, path: Path) -> bool:
    """Download into ``path`` what is missing of it; True when the file in the cache is still the server's."""
    kept, part = _read_validators(path), Path(f"{path}.part")
    if path.exists() and kept.sha256 and (kept.etag or kept.last_modified):
        answer = _Validators()
        if _request(source, answer, known=kept) == 304:
            return True
    partial = _read_validators(part) if part.exists() else _Validators()
    answer = _Validators()
    with part.open("ab") as file:
        begun = file.tell() if partial.etag or partial.last_modified else 0
        file.truncate(begun)
        file.seek(begun)
        status = _request(source, answer, into=file, begun=begun, known=partial, keep=part)
    if status not in (200, 206):
        part.unlink(missing_ok=True)
        raise SourceInterrupted(f"{source.public} answered {status} to a resumed download.", "It is begun anew.")
    if answer.bytes >= 0 and part.stat().st_size != answer.bytes:
        size = part.stat().st_size
        if size > answer.bytes:
            part.unlink()
        raise SourceInterrupted(f"{source.public} sent {size:,} bytes and had said {answer.bytes:,}.")
    answer.sha256 = checksum(part)
    part.rename(path)
    _write_validators(path, answer)
    Path(f"{part}.json").unlink(missing_ok=True)
    return False


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
    curl.setopt(pycurl.CAINFO, os.environ.get("SSL_CERT_FILE") or certifi.where())
    try:
        yield curl
    finally:
        curl.close()


def _request(
    source: Source,
    answer: _Validators,
    *,
    head: bool = False,
    into: object = None,
    begun: int = 0,
    known: _Validators | None = None,
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
                _write_validators(keep, answer)

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


def _conditions(known: _Validators | None, begun: int) -> list[str]:
    """Return the headers that ask for the rest of the known version, or for another version."""
    if known and begun:
        return [f"Range: bytes={begun}-", f"If-Range: {known.etag or known.last_modified}"]
    if known and known.etag:
        return [f"If-None-Match: {known.etag}"]
    if known and known.last_modified:
        return [f"If-Modified-Since: {known.last_modified}"]
    return []


def _has_changed(known: _Validators | None, answer: _Validators) -> bool:
    """Tell whether an answer is about another version; a part need not repeat all that was said of the whole."""
    if known is None:
        return False
    pairs = ((known.etag, answer.etag), (known.last_modified, answer.last_modified))
    return any(before and after and before != after for before, after in pairs)


def _note(headers: dict[str, str], answer: _Validators, begun: int) -> None:
    length = headers.get("content-length", "")
    answer.etag = headers.get("etag", "")
    answer.last_modified = headers.get("last-modified", "")
    resumed = begun if headers.get(":status") == "206" else 0
    answer.bytes = int(length) + resumed if length.isdigit() else -1
    total = headers.get("content-range", "").rpartition("/")[2]
    if resumed and total.isdigit():  # a part may end before the file does
        answer.bytes = int(total)


def check_format(path: Path) -> str:
    """Return the GDAL driver of a file, told from its first bytes rather than its name.

    A virtual or indirect format under a harmless name never reaches GDAL.

    Raises
    ------
    FormatUnknown
        When the bytes are not those of the format that the name promises.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(512)
        is_json = suffix in (".geojson", ".json")
        is_text = not is_json or _is_utf8(file)
        has_linked_crs = is_json and _has_linked_crs(file)
    if not is_text:
        raise FormatUnknown(f"{path.name} is not in UTF-8, as a GeoJSON must be.", "Convert it, or download it again.")
    if has_linked_crs:
        raise FormatUnknown(
            f"{path.name} gives its reference system by an address, which is not followed.",
            'Name it instead ("crs": {"type": "name", …}), or leave it out for WGS 84.',
        )
    if suffix == ".gpkg" and head.startswith(b"SQLite format 3\0"):
        return "GPKG"
    if suffix == ".shp" and head[:4] == b"\x00\x00\x27\x0a":
        return "ESRI Shapefile"
    if suffix in (".geojson", ".json") and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return "GeoJSON"
    raise FormatUnknown(
        f"{path.name} is no GeoPackage, shapefile or GeoJSON: {_looks_like(path)}.",
        "Give a .gpkg, .shp, .geojson, or a .zip or folder of them.",
    )


def _is_utf8(file: BinaryIO) -> bool:
    """Tell whether a file is text that GDAL's messages can quote: fiona crashes on them otherwise."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while data := file.read(CHUNK_BYTES):
            decoder.decode(data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _has_linked_crs(file: BinaryIO) -> bool:
    """Tell whether a GeoJSON asks its reader to fetch the reference system from somewhere."""
    if os.fstat(file.fileno()).st_size == 0:
        return False
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return any(not CRS_HARMLESS.match(text, key.end()) for key in CRS_KEY.finditer(text))
