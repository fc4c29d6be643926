"""Lend GDAL a file under a path that its libraries do not take for another one.

fiona and pyogrio parse paths as addresses: a ``!``, ``;`` or line break in one leads to another file. Such a file is
lent as a link of a harmless name in a temporary folder, and so is a shapefile whose parts are named in another letter
case, or whose index or row count is wrong, with right ones beside it: nothing is written into the user's folder. Of a
geodatabase, which is a folder, only those files are lent that make its version.
"""

from __future__ import annotations

import re
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.layers import shapefile
from ingest.sources import parts

HARMLESS = re.compile(r"[\w/. +,=@()-]+")
ODD = re.compile(r"[^\w. +,=@()-]")


@contextmanager
def lend(path: Path) -> Iterator[Path]:
    """Lend a layer file to GDAL.

    Parameters
    ----------
    path : Path
        A file that `ingest.layers.formats.check_format` accepts.

    Returns
    -------
    context manager of Path
        The file's own path where that is possible.
    """
    if path.is_dir():
        with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
            lent = Path(folder) / f"{ODD.sub('~', path.stem).strip()}.gdb"
            lent.mkdir()
            for table in parts.of(path):
                (lent / table.name.lower()).symlink_to(table.absolute())
            yield lent
        return
    found = shapefile.examine(path) if parts.suffix_of(path) == ".shp" else None
    is_fit = found is None or (found.is_as_stated and shapefile.is_known_to_gdal(path))
    if is_fit and HARMLESS.fullmatch(str(path)) and not re.search(r"^//|\s$", str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        lent = Path(folder) / ODD.sub("~", path.name).strip()
        lent.symlink_to(path.absolute())
        for suffix, file in [] if found is None else parts.beside(path):
            target = lent.with_suffix(suffix)
            if not target.is_symlink():  # of two letter cases, the first is read
                target.symlink_to(file.absolute())
        if found is not None:
            _put_right(lent, found)
        yield lent


def _put_right(lent: Path, found: shapefile.Shapefile) -> None:
    """Replace the links to an index and a table that are wrong."""
    if found.index is not None:
        index = lent.with_suffix(".shx")
        index.unlink(missing_ok=True)
        index.write_bytes(found.index)
    if len(found.sizes) > found.table.stated:
        table = lent.with_suffix(".dbf")
        original = table.resolve()
        table.unlink()
        shutil.copyfile(original, table)
        with table.open("r+b") as file:
            file.seek(4)
            file.write(struct.pack("<I", len(found.sizes)))
