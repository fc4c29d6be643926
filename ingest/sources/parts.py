"""Which files a source consists of: the parts of each format, the members of a folder, and what is passed over.

The same files make its version, its checksum and what is read, so that no change of theirs is missed, and no change of
another file matters.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import mmap
import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path, PurePath

from ingest.errors import SourceDamaged, SourceUnavailable
from ingest.sources.address import printable
from ingest.sources.signatures import CHUNK_BYTES, ZIP_HEAD

SEQUENCE_SUFFIXES = (".geojsonl", ".geojsons", ".ndjson")  # a feature in each line
PARQUET_SUFFIXES = (".parquet", ".geoparquet")
LAYER_SUFFIXES = (".gpkg", ".shp", ".geojson", ".json", *SEQUENCE_SUFFIXES, ".fgb", *PARQUET_SUFFIXES)
FORMATS = "GeoPackage, shapefile, GeoJSON, FlatGeobuf, GeoParquet or file geodatabase"  # what these suffixes stand for
SHAPEFILE_SUFFIXES = (".dbf", ".shx", ".prj", ".cpg", ".shp.xml")
GEODATABASE_SUFFIXES = (".gdbtable", ".gdbtablx")  # of rows and where they are; indexes are not read
GEODATABASE_HEAD = "a00000001.gdbtable"  # its list of tables; a folder that holds it is a geodatabase
SQLITE_SUFFIXES = ("-wal", "-journal")
WAL_HEADS = (bytes.fromhex("377f0682"), bytes.fromhex("377f0683"))  # of a write-ahead log; zeros hold nothing
JOURNAL_HEAD = bytes.fromhex("d9d505f920a163d7")  # of a rollback journal; zeros after the transaction has ended

GEOJSON_TYPES = {
    "FeatureCollection",
    "Feature",
    "GeometryCollection",
    *(f"{many}{shape}" for many in ("", "Multi") for shape in ("Point", "LineString", "Polygon")),
}
FEATURE_COLLECTION = re.compile(rb"""["']type["']\s*:\s*["']Feature(?:Collection)?["']""")
BEGINS_AS_GEOJSON = re.compile(rb"""(?:\xef\xbb\xbf)?\s*\{\s*"type"\s*:\s*"Feature(?:Collection)?"\s*[,}]""")
HEAD_BYTES = 512

HIDDEN = "hidden files and those of __MACOSX"
NOT_GEOJSON = "JSON that is not GeoJSON"
ARCHIVES = "zip archives inside"
OTHERS = "other files"

MAX_FILES = 50_000  # in a folder or an archive, with those that are passed over
MAX_DEPTH = 100  # folders inside each other
MAX_NAME_BYTES = 240  # file systems take 255, and SQLite and we append suffixes
MAX_PATH_BYTES = 1024  # inside the source: systems take 1,024 or 4,096, and it is copied below another folder
SHOWN_CHARACTERS = 120

TICK_SECONDS = 0.02  # the clock of a file system may stand still for so long
MAX_TICKS = 5  # of waiting for a file that is written to all the time
COARSE_TICK_SECONDS = 2.1  # where it counts in whole seconds, or in pairs of them


@dataclass
class Members:
    """The layer files of a folder, and what was passed over, by kind."""

    files: list[Path] = field(default_factory=list)
    passed_over: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def lines(self, root: Path) -> Iterator[str]:
        """Yield a line for each kind of files that were passed over."""
        for kind, found in sorted(self.passed_over.items()):
            yield passed_over(kind, [file.relative_to(root).as_posix() for file in found])


def passed_over(kind: str, names: Sequence[str]) -> str:
    """Describe files of a kind that were passed over, in a clause."""
    shown = ", ".join(map(brief, names[:3]))
    return f"{kind}: {shown}{f' and {len(names) - 3:,} more' if len(names) > 3 else ''}"


def brief(name: str) -> str:
    """Return a name as one line of text, without its middle if it is long."""
    text = printable(name)
    half = SHOWN_CHARACTERS // 2
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:half]}…{text[-half:]}"


def excess(path: PurePath) -> str:
    """Describe why a path inside a source is too long to be read, in a clause; empty if it is not."""
    if len(path.parts) > MAX_DEPTH + 1:
        return f"lies in {len(path.parts) - 1:,} folders inside each other, and {MAX_DEPTH:,} are read"
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > MAX_NAME_BYTES:
        return f"has a name of {longest:,} bytes, and {MAX_NAME_BYTES:,} are read"
    length = len(os.fsencode(path))
    return f"has a path of {length:,} bytes, and {MAX_PATH_BYTES:,} are read" if length > MAX_PATH_BYTES else ""


def is_hidden(parts: Sequence[str]) -> bool:
    """Return whether a path inside a source belongs to a file system or an editor, and not to the data."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def members(root: Path) -> Members:
    """Find the files of a folder that may hold layers; a geodatabase is one. Links to folders are followed.

    Raises
    ------
    SourceUnavailable
        When a folder cannot be listed, contains more than `MAX_FILES` or deeper folders than `MAX_DEPTH`, or a link of
        a layer's name leads nowhere.
    """
    found = Members()
    for path in _walk(root):
        if is_hidden(path.relative_to(root).parts):
            found.passed_over[HIDDEN].append(path)
        elif path.is_dir():
            check_length(path.relative_to(root))
            found.files.append(path)
        elif suffix_of(path) in LAYER_SUFFIXES:
            if path.is_symlink() and not path.exists():
                raise SourceUnavailable(f"{printable(str(path))} is a link to a file that is not there.")
            check_length(path.relative_to(root))
            check_readable(path)
            if suffix_of(path) == ".json" and not is_geojson(path):
                found.passed_over[NOT_GEOJSON].append(path)
            else:
                found.files.append(path)
        elif suffix_of(path) == ".zip":
            found.passed_over[ARCHIVES].append(path)
        else:
            found.passed_over[OTHERS].append(path)
    parts = {part for file in found.files for part in of(file)}
    found.passed_over[OTHERS] = [path for path in found.passed_over[OTHERS] if path not in parts]
    found.passed_over = {kind: sorted(paths) for kind, paths in found.passed_over.items() if paths}
    found.files.sort()
    return found


def is_geodatabase(folder: Path) -> bool:
    """Return whether a folder is a file geodatabase, whatever its name."""
    return os.path.isfile(folder / GEODATABASE_HEAD)  # noqa: PTH113  no error for a path that is too long


def check_readable(path: Path) -> None:
    """Make sure that this user may read a file or folder.

    Raises
    ------
    SourceUnavailable
        When it may not.
    """
    if not os.access(path, os.R_OK):
        raise SourceUnavailable(f"This user may not read {printable(str(path))}.", "Check its permissions.")


def check_length(path: PurePath) -> None:
    """Make sure that a path inside a source is not too long.

    Raises
    ------
    SourceUnavailable
        When it is.
    """
    if too_long := excess(path):
        raise SourceUnavailable(f"{brief(str(path))} {too_long}.", "Give it a shorter name.")


def suffix_of(path: Path) -> str:
    """Return the suffix of a file in lower case, without blanks after it."""
    return path.suffix.rstrip().lower()


def of(path: Path) -> list[Path]:
    """Return the files that a layer file consists of: itself, and the parts beside it that are read with it.

    A ``-shm`` is not one: it is an index that SQLite makes anew.

    Raises
    ------
    SourceUnavailable
        When this user may not read one, or the name is too long for the parts beside it.
    """
    check_length(PurePath(path.name))
    suffix = suffix_of(path)
    if is_geodatabase(path):
        tables = sorted(each for each in path.iterdir() if suffix_of(each) in GEODATABASE_SUFFIXES and each.is_file())
        for each in tables:
            check_readable(each)
        return tables
    if suffix == ".shp":
        found = [file for _, file in beside(path)]
        for each in found:
            check_readable(each)
        return [path, *found]
    return [path, *pending(path)] if suffix == ".gpkg" else [path]


def beside(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the parts of a shapefile that are beside it, each with its suffix in lower case.

    Letter case does not tell parts from each other where shapefiles are made. Of several that differ only in that, the
    one to read comes first: with the name as it is, and the suffix all lower or all upper case.
    """
    for suffix in SHAPEFILE_SUFFIXES:
        names = [path.with_suffix(each).name for each in (suffix, suffix.upper())]
        for name in dict.fromkeys([*names, *_in_other_case(path, names[0])]):
            if (file := path.with_name(name)).is_file():
                yield suffix, file


def _in_other_case(path: Path, name: str) -> list[str]:
    """Return the files beside a layer file that have a name in another letter case, if they are of no other file."""
    found = _names_in(path.parent)
    is_alone = found.get(path.name.lower(), ()) == (path.name,)
    return [each for each in found.get(name.lower(), ()) if is_alone or each.startswith(path.stem)]


def _names_in(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the names in a folder by what they are in lower case."""
    try:
        changed_at = folder.stat().st_mtime_ns
        is_still = time.time() - changed_at / 1e9 > COARSE_TICK_SECONDS  # else another change may have the same time
        return _names_once(folder, changed_at) if is_still else _names_once.__wrapped__(folder, changed_at)
    except OSError as error:
        raise SourceUnavailable(
            f"{printable(str(folder))} cannot be listed: {error.strerror}.", "Check its permissions."
        ) from error


@lru_cache(maxsize=16)
def _names_once(folder: Path, _changed_at: int) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(os.listdir(folder)):  # noqa: PTH208  names, not paths
        found[name.lower()] = (*found.get(name.lower(), ()), name)
    return found


def pending(path: Path) -> list[Path]:
    """Return the write-ahead log or the hot rollback journal of a GeoPackage; without it, its content is another.

    SQLite looks for them beside the file that a link leads to. The system on which they were made may not have told
    letter cases from each other.
    """
    found: list[Path] = []
    real = Path(os.path.realpath(path))
    for suffix in SQLITE_SUFFIXES:
        name = f"{real.name}{suffix}"
        file = real.with_name(next(iter([name] if real.with_name(name).exists() else _in_other_case(real, name)), name))
        try:
            with file.open("rb") as opened:
                head = opened.read(len(JOURNAL_HEAD))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SourceUnavailable(
                f"{printable(str(file))} cannot be read: {error.strerror}.", "It holds a part of the GeoPackage."
            ) from error
        if head.strip(b"\0") if suffix == "-wal" else head == JOURNAL_HEAD:
            found.append(file)
    return found


def sqlite_suffix(file: Path) -> str:
    """Return which of `SQLITE_SUFFIXES` a file has, in any letter case."""
    return next(suffix for suffix in SQLITE_SUFFIXES if file.name.lower().endswith(suffix))


def all_of(root: Path) -> list[Path]:
    """Return every file that a local source consists of, in a fixed order."""
    files = members(root).files if root.is_dir() else [root]
    return list(dict.fromkeys(part for file in files for part in of(file)))


def stats(files: Sequence[Path]) -> list[tuple[int, int, int]]:
    """Return size, time of modification and time of change of files, once no later change can have the same times.

    The time of change tells an edit by a program that sets the old time of modification again.

    Raises
    ------
    SourceUnavailable
        When a file is no longer there.
    """
    try:
        for _ in range(MAX_TICKS):
            found = [file.stat() for file in files]
            newest = max((max(each.st_mtime_ns, each.st_ctime_ns) for each in found), default=0)
            is_coarse = all(each.st_ctime_ns % 10**9 == 0 for each in found)
            pause = newest / 1e9 + (COARSE_TICK_SECONDS if is_coarse else TICK_SECONDS) - time.time()
            if not 0 < pause <= COARSE_TICK_SECONDS:
                break
            time.sleep(pause)
    except OSError as error:
        raise SourceUnavailable(f"{printable(str(error.filename))}: {error.strerror}.", "Check --source.") from error
    return [(each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in found]


def version(path: Path) -> str:
    """Return a text that differs between versions of a layer file and its parts on this host, without reading them."""
    files = of(path)
    found = [[printable(file.name), *stat] for file, stat in zip(files, stats(files), strict=True)]
    return json.dumps({"host": socket.gethostname(), "files": found})


def is_same(path: Path, root: Path, planned: str, sha256: str | None) -> bool:
    """Return whether a layer file is the version that was planned.

    Parameters
    ----------
    path, root : Path
        The file, and the source that it belongs to.
    planned : str
        What `version` said of it, possibly on another host. That one may read a copy of the source, with times of its
        own: then names and sizes are compared, and the checksum as soon as it is known.
    sha256 : str or None
        Checksum of the source, if it is known.

    Returns
    -------
    bool
        False also if the file is gone, if only for the moment in which another one takes its place.
    """
    try:
        now, before = json.loads(version(path)), json.loads(planned)
        if now["files"] == before["files"] or now["host"] == before["host"]:
            return bool(now["files"] == before["files"])
        if [file[:2] for file in now["files"]] != [file[:2] for file in before["files"]]:
            return False
        return sha256 is None or sha256 == _checksum_once(root, tuple(stats(all_of(root))))
    except SourceUnavailable:
        return False


@cache
def _checksum_once(root: Path, _stats: tuple[tuple[int, int, int], ...]) -> str:
    return checksum(root)


def checksum(root: Path) -> str:
    """Return the SHA-256 of a file, or of the names and checksums of the files that a source consists of.

    Raises
    ------
    SourceDamaged
        When a file changes while it is read.
    """
    files = all_of(root)
    before = stats(files)
    sums = [checksum_of_file(file) for file in files]
    if all_of(root) != files or stats(files) != before:
        raise changed(root)
    if files == [root]:
        return sums[0]
    folder = root if root.is_dir() else root.parent
    names = (Path(os.path.relpath(file, folder)) for file in files)
    lines = [f"{name} {each}" for name, each in sorted(zip(names, sums, strict=True))]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def checksum_of_file(path: Path) -> str:
    """Return the SHA-256 of one file, as ``sha256sum`` computes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def changed(path: Path) -> SourceDamaged:
    """Return the error for a file of which no single version was read."""
    return SourceDamaged(
        f"{printable(path.name)} changed while it was being read.",
        "Load it again once the program that writes it has finished.",
    )


def is_geojson(path: Path) -> bool:
    """Return whether a JSON is GeoJSON, or a damaged file that was. Metadata and styles are not."""
    with path.open("rb") as file:
        text = file.read(HEAD_BYTES)
        if BEGINS_AS_GEOJSON.match(text):
            return True  # as nearly every program writes it
        text += file.read(CHUNK_BYTES + 1 - len(text))
        if len(text) > CHUNK_BYTES:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                return FEATURE_COLLECTION.search(whole) is not None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return FEATURE_COLLECTION.search(text) is not None
    return isinstance(found, dict) and found.get("type") in GEOJSON_TYPES


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip by its name, or by its first bytes if its name says nothing."""
    suffix = suffix_of(path)
    if suffix == ".zip" or suffix in LAYER_SUFFIXES or not path.is_file():
        return suffix == ".zip" and not path.is_dir()
    with path.open("rb") as file:
        return file.read(len(ZIP_HEAD)) == ZIP_HEAD


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder. Hidden folders, and geodatabases, are listed as one file each."""
    if is_geodatabase(root):
        yield root
        return
    seen = {os.path.realpath(path) for path in (root, *Path(os.path.realpath(root)).parents)}
    left, count = [(root, 0)], 0
    while left:  # os.walk calls itself for every level, which Python limits
        folder, depth = left.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(itertools.islice(entries, MAX_FILES + 1), key=lambda entry: entry.name)
        except OSError as error:
            raise SourceUnavailable(
                f"{brief(str(folder))} cannot be listed: {error.strerror}.",
                "Check its permissions." if error.errno != errno.ENAMETOOLONG else "Give the folders shorter names.",
            ) from error
        count += len(found)
        folders = []
        for entry in found:
            path, is_link = folder / entry.name, entry.is_symlink()
            if entry.is_dir(follow_symlinks=False) or (is_link and os.path.isdir(path)):  # noqa: PTH112  no error
                if is_hidden([entry.name]) or is_geodatabase(path):
                    yield path
                elif _is_new(path, seen):
                    folders.append((path, depth + 1))
            elif is_link or entry.is_file():
                yield path
        much = f"{MAX_FILES:,} files" if count > MAX_FILES else f"{MAX_DEPTH:,} folders inside each other"
        if count > MAX_FILES or (folders and depth >= MAX_DEPTH):
            raise SourceUnavailable(
                f"{brief(str(root))} contains more than {much}.",
                "Put the files with the layers into a folder of their own, and give that.",
            )
        left += reversed(folders)


def _is_new(folder: Path, seen: set[str]) -> bool:
    """Return whether a folder was not listed yet, and note it: a link may lead to where it came from."""
    real = os.path.realpath(folder)
    is_new = real not in seen
    seen.add(real)
    return is_new
