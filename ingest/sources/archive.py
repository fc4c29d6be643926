"""Unpack a zip safely, once per checksum: names that climb out, links, encrypted members and bombs are refused."""

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
from ingest.sources.cache import Fetched, is_zip
from ingest.sources.http import forget

CHUNK_BYTES = 1 << 20
ZIP_HEAD = b"PK\x03\x04"
UNPACK_RATIO = 200  # a zip that claims to grow by more than this is a bomb; GADM's grow by 4
UNPACK_FREE_BYTES = 1 << 28  # what must stay free on the disk after unpacking
READABLE = {".gpkg", ".shp", ".shx", ".dbf", ".prj", ".cpg", ".geojson", ".json"}


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
    if fetched.sha256 is None or path.is_dir() or not is_zip(path):
        return path
    if not zipfile.is_zipfile(path):
        if path.is_relative_to(home / "downloads"):
            forget(path)
        with path.open("rb") as file:
            is_cut_off = file.read(len(ZIP_HEAD)) == ZIP_HEAD
        what = "damaged: its end is missing" if is_cut_off else f"no zip archive: {looks_like(path)}"
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
                forget(path)
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


def looks_like(path: Path) -> str:
    """Return what a file is by its first bytes, as the end of a sentence."""
    with path.open("rb") as file:
        head = file.read(512).lstrip()
    if head.lower().startswith((b"<!doctype html", b"<html")):
        return "it is an HTML page, most likely a server's error"
    if head.startswith(ZIP_HEAD):
        return "it begins like a zip archive"
    return "it is empty" if not head else f"it begins with {head[:8]!r}"
