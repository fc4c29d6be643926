"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.errors import UsageError


def check_place(output: Path, *, overwrite: bool) -> None:
    """Refuse a file that exists, unless it may be replaced, and one whose folder does not.

    Raises
    ------
    UsageError
    """
    if output.exists() and not overwrite:
        raise UsageError(f"{output} already exists.", "Use --overwrite to replace it.")
    if not output.parent.is_dir():
        raise UsageError(f"There is no folder {output.parent}.", "Create it first.")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; it replaces ``path`` on success, and is removed on failure."""
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        for left in path.parent.glob(f"{glob.escape(draft.name)}*"):  # a GeoPackage may leave journals
            left.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new, temporary folder; it replaces ``path`` on success, and is removed on failure."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    old = draft.with_name(f"{draft.name}.old")
    draft.mkdir()
    try:
        yield draft
        if path.exists():
            path.rename(old)
        draft.rename(path)
    finally:
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        shutil.rmtree(draft, ignore_errors=True)


def wait_for_disk(folder: Path) -> None:
    """Wait until a folder is on the disk: after a power cut, what has its name must have its content."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
