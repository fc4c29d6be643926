"""Unpack a zip safely, once per checksum; path traversal, links, encryption and zip bombs are refused."""

from __future__ import annotations

import io
import logging
import lzma
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import filelock

from ingest.errors import ArchiveInvalid
from ingest.settings import private_folder
from ingest.sources import parts, seal, snapshot
from ingest.sources.address import printable
from ingest.sources.cache import Fetched, downloads_in
from ingest.sources.http import forget
from ingest.sources.signatures import CHUNK_BYTES, ZIP_HEAD, looks_like

log = logging.getLogger(__name__)

UNPACK_RATIO = 200  # a zip that expands by a larger factor is refused as a bomb; GADM's expand by 4
UNPACK_FREE_BYTES = 1 << 28  # must stay free on the disk after unpacking
MAX_DIRECTORY_BYTES = 32 << 20  # of an archive's list of members, which is read at once
READABLE = (
    *parts.LAYER_SUFFIXES,
    *parts.SHAPEFILE_SUFFIXES,
    *(f".gpkg{each}" for each in parts.SQLITE_SUFFIXES),
    *parts.GEODATABASE_SUFFIXES,
)
MEMBERS_OF_AN_ARCHIVE = "zip archives inside zip archives inside this one"
DRIVE = re.compile(r"[A-Za-z]:/")


class _Reader(io.BufferedReader):
    """A zip, of which `zipfile` cannot read a list of members of any length into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes."""
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise _too_many(str(self.name))
        return super().read(size)


def unpack(fetched: Fetched, home: Path) -> Path:
    """Unpack a zip next to the cache, once per checksum; return anything else unchanged.

    Only members that can be read as layers are extracted, and those of zips inside it. What is passed over is logged.
    Path traversal, links, encryption and zip bombs are refused before anything is written.

    Parameters
    ----------
    fetched : Fetched
        The downloaded file.
    home : Path
        Folder that contains ``unpacked``.

    Returns
    -------
    Path
        The folder with the extracted members, or the path itself.

    Raises
    ------
    ArchiveInvalid
        When the zip is damaged or unsafe, or contains nothing readable.
    SourceDamaged
        When the zip changes while it is read, or a GeoPackage in it does not fit the log beside it.
    """
    path = fetched.path
    if fetched.sha256 is None or not parts.is_zip(path):
        return path
    if not zipfile.is_zipfile(path):
        if path.is_relative_to(downloads_in(home)):
            forget(path)
        with path.open("rb") as file:
            is_truncated = file.read(len(ZIP_HEAD)) == ZIP_HEAD
        what = "damaged: its end is missing" if is_truncated else f"not a zip archive: {looks_like(path)}"
        raise ArchiveInvalid(f"{printable(path.name)} is {what}.", "Download it again, or check the address.")
    folder = snapshot.folder_of(fetched.sha256, home)
    private_folder(folder.parent)
    with filelock.FileLock(f"{folder}.lock"):
        log.info("%s is unpacked in %s.", printable(path.name), folder)
        if seal.is_intact(folder):
            return folder
        if folder.exists():
            log.warning("%s is not what was unpacked: it is unpacked again.", folder)
        draft = folder.with_suffix(f".{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _extract(path, draft)
            snapshot.merge(draft)
            if fetched.stats is not None and parts.stats([path]) != fetched.stats:
                raise parts.changed(path)
            seal.install(draft, folder)
        except ArchiveInvalid:
            if path.is_relative_to(downloads_in(home)):
                forget(path)
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def unpacked(sha256: str, home: Path, member: str | None = None) -> Path | None:
    """Return the folder that an archive was unpacked into on this host; None if it was not, or is not intact.

    With ``member``, only this file in the folder is looked at.
    """
    folder = snapshot.folder_of(sha256, home)
    return folder if seal.is_intact(folder, folder / member if member else None) else None


def _extract(path: Path, folder: Path) -> None:
    """Extract the members of a zip, and then those of the zips among them, which are removed again."""
    shown = printable(path.name)
    try:
        folder.mkdir()
        most = UNPACK_RATIO * max(path.stat().st_size, CHUNK_BYTES)
        expanded, count = _extract_one(path, folder, most=most, is_outer=True)
        inner = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix.lower() == ".zip")
        for file in inner:
            packed = file.rename(file.with_name(f"{file.name}.packed"))
            found = _extract_one(packed, file, most=most - expanded, is_outer=False)
            expanded, count = expanded + found[0], count + found[1]
            if count > parts.MAX_FILES:
                raise _too_many(shown)
            packed.unlink()
        if not parts.members(folder).files:
            raise ArchiveInvalid(f"{shown} contains no {parts.FORMATS}.")
    except NotImplementedError as error:  # a compression or encryption that Python's library lacks
        raise ArchiveInvalid(f"{shown} cannot be unpacked: {error}.", "Unpack it, and give the folder.") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        raise ArchiveInvalid(f"{shown} is damaged: {error}.", "Download it again.") from error
    except OSError as error:
        raise ArchiveInvalid(
            f"{shown} cannot be unpacked into {folder.parent}: {error.strerror or error}.",
            "Free some space if the disk is full; otherwise the archive is damaged: download it again.",
        ) from error


def _extract_one(path: Path, folder: Path, *, most: int, is_outer: bool) -> tuple[int, int]:
    """Extract the members of a zip that are wanted, at most so many bytes.

    Returns
    -------
    (int, int)
        How many bytes they were, and how many members the zip has.
    """
    shown = printable(path.name.removesuffix(".packed"))
    with _Reader(io.FileIO(path)) as file_of_zip, zipfile.ZipFile(file_of_zip) as archive:
        found = archive.infolist()
        if len(found) > parts.MAX_FILES:
            raise _too_many(shown)
        members = _wanted(shown, found, is_outer=is_outer)
        expanded = sum(member.file_size for member in members.values())
        if expanded > most:
            raise ArchiveInvalid(f"{shown} would expand to {expanded:,} bytes: refused as a zip bomb.")
        free = shutil.disk_usage(folder.parent).free
        if expanded > free - UNPACK_FREE_BYTES:
            raise ArchiveInvalid(
                f"{shown} needs {expanded:,} bytes and {folder.parent} has {free:,} free.",
                "Free some space, or set WAREHOUSE_HOME to another disk.",
            )
        for name, member in members.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, target.open("xb") as file:
                shutil.copyfileobj(packed, file, CHUNK_BYTES)
                if file.tell() != member.file_size:
                    raise ArchiveInvalid(f"{name} in {shown} does not have its stated length.")
    return expanded, len(found)


def _too_many(name: str) -> ArchiveInvalid:
    return ArchiveInvalid(
        f"{printable(Path(name).name)} has more than {parts.MAX_FILES:,} members.",
        "Unpack it, and give a folder with the files of the layers.",
    )


def _wanted(shown: str, found: Sequence[zipfile.ZipInfo], *, is_outer: bool) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the members to extract by their path; of several with one path the last, as unzip has it.

    The rest is passed over and logged, but a member whose path leads out of the archive is refused even there.
    """
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    passed_over: dict[str, list[str]] = defaultdict(list)
    for member in found:
        text = member.filename.replace("\\", "/")  # as some programs of Windows write it
        name = PurePosixPath(text)
        if name.is_absolute() or ".." in name.parts or DRIVE.match(text):
            raise ArchiveInvalid(f"{shown} has a member whose path leads out of the archive: {parts.brief(text)!r}.")
        if text.endswith("/") or not name.parts:
            continue
        is_archive = name.suffix.lower() == ".zip"
        if parts.is_hidden(name.parts):
            passed_over[parts.HIDDEN].append(text)
        elif is_archive and not is_outer:
            passed_over[MEMBERS_OF_AN_ARCHIVE].append(text)
        elif not is_archive and not name.name.lower().endswith(READABLE):
            passed_over[parts.OTHERS].append(text)
        elif stat.S_ISLNK(member.external_attr >> 16):
            raise ArchiveInvalid(f"{shown} has a symbolic link as a member: {parts.brief(text)!r}.")
        elif too_long := parts.excess(name):
            raise ArchiveInvalid(
                f"The member {parts.brief(text)!r} of {shown} {too_long}.", "Pack it again, with shorter paths."
            )
        elif member.flag_bits & 0x1:
            raise ArchiveInvalid(f"{shown} is encrypted.")
        else:
            members[name] = member
    for kind, names in passed_over.items():
        log.info("%s: passed over %s.", shown, parts.passed_over(kind, names))
    return members
