"""Unpack a zip safely, once per checksum; path traversal, links, encryption and zip bombs are refused."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import filelock

from ingest.errors import ArchiveInvalid
from ingest.sources.cache import Fetched, downloads_in, is_zip
from ingest.sources.http import forget
from ingest.sources.signatures import CHUNK_BYTES, ZIP_HEAD, looks_like

UNPACK_RATIO = 200  # a zip that expands by a larger factor is refused as a bomb; GADM's expand by 4
UNPACK_FREE_BYTES = 1 << 28  # must stay free on the disk after unpacking
READABLE = {".gpkg", ".shp", ".shx", ".dbf", ".prj", ".cpg", ".geojson", ".json"}


def unpack(fetched: Fetched, home: Path) -> Path:
    """Unpack a zip next to the cache, once per checksum; return anything else unchanged.

    Only members that can be read as layers are extracted. Path traversal, links, encryption and zip bombs are refused
    before anything is written.

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
    """
    path = fetched.path
    if fetched.sha256 is None or path.is_dir() or not is_zip(path):
        return path
    if not zipfile.is_zipfile(path):
        if path.is_relative_to(downloads_in(home)):
            forget(path)
        with path.open("rb") as file:
            is_truncated = file.read(len(ZIP_HEAD)) == ZIP_HEAD
        what = "damaged: its end is missing" if is_truncated else f"not a zip archive: {looks_like(path)}"
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
            if path.is_relative_to(downloads_in(home)):
                forget(path)
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def unpacked(sha256: str, home: Path) -> Path | None:
    """Return the folder that an archive was unpacked into on this host, or None if it was not."""
    folder = _unpacked_folder(sha256, home)
    return folder if folder.is_dir() else None


def _unpacked_folder(sha256: str, home: Path) -> Path:
    return home / "unpacked" / sha256[:16]


def _extract(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if _is_wanted(path, member)]
            if not members:
                raise ArchiveInvalid(f"{path.name} contains no GeoPackage, shapefile or GeoJSON.")
            expanded = sum(member.file_size for member in members)
            if expanded > UNPACK_RATIO * max(path.stat().st_size, CHUNK_BYTES):
                raise ArchiveInvalid(f"{path.name} would expand to {expanded:,} bytes: refused as a zip bomb.")
            free = shutil.disk_usage(folder.parent).free
            if expanded > free - UNPACK_FREE_BYTES:
                raise ArchiveInvalid(
                    f"{path.name} needs {expanded:,} bytes and {folder.parent} has {free:,} free.",
                    "Free some space, or set WAREHOUSE_HOME to another disk.",
                )
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, target.open("xb") as file:
                    shutil.copyfileobj(packed, file, CHUNK_BYTES)
                    if file.tell() != member.file_size:
                        raise ArchiveInvalid(f"{member.filename} in {path.name} does not have its stated length.")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError) as error:
        raise ArchiveInvalid(f"{path.name} is damaged: {error}.", "Download it again.") from error
    except OSError as error:
        raise ArchiveInvalid(
            f"{path.name} cannot be unpacked into {folder.parent}: {error.strerror or error}.",
            "Free some space if the disk is full; otherwise the archive is damaged: download it again.",
        ) from error


def _is_wanted(path: Path, member: zipfile.ZipInfo) -> bool:
    """Return whether a member is to be extracted; refuse the archive if the member is unsafe."""
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename:
        raise ArchiveInvalid(f"{path.name} has a member whose path leads out of the archive: {member.filename!r}.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ArchiveInvalid(f"{path.name} has a symbolic link as a member: {member.filename!r}.")
    if member.flag_bits & 0x1:
        raise ArchiveInvalid(f"{path.name} is encrypted.")
    is_folder = member.filename.endswith("/") or not name.parts
    return not is_folder and name.suffix.lower() in READABLE and "__MACOSX" not in name.parts
