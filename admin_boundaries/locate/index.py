"""The index of the marts that answers for many points, made once for each build.

It is a folder of the warehouse's home: ``points/<target>/<schema>/<build>``, with a folder for each layer. It appears
under its name only when it is complete, and those of earlier builds are removed then, unless they are held; whoever
has one open keeps it.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock
from pyarrow import feather

from admin_boundaries import edition
from admin_boundaries.files import wait_for_disk
from admin_boundaries.locate import COLUMNS
from admin_boundaries.warehouse import Warehouse, needed, of_one_build
from ingest.errors import MartsMissing, MartsReplaced, TargetUnavailable
from ingest.settings import Settings, build_command, private_folder

if TYPE_CHECKING:  # numba takes a second to import, and most files have few points
    from admin_boundaries.locate.kernels import Numbers
    from admin_boundaries.marts import Mart

HELD = "held"
SHAPE = 2  # of the files; a version that writes others counts on
LEVELS = range(6)
LAYERS = {"units": ("internal_leaf_parts", "gid"), "zones": ("internal_timezone_parts", "tzid")}
UNITS = """
    select
        units.gid,
        units.admin_level,
        {chain},
        units.path
    from {marts}.admin_units as units
    inner join {marts}.admin_unit_ancestors as ancestors on units.gid = ancestors.gid
    left join {marts}.admin_units as named on ancestors.ancestor_gid = named.gid
    where units.gid in (select gid from {marts}.internal_leaf_parts)
    group by units.gid, units.admin_level, units.path
"""
ZONES = "select distinct tzid from {marts}.internal_timezone_parts"


def folder_of(settings: Settings, builds: Sequence[str]) -> Path:
    """Return the folder of the index of marts of these builds, of which there is one as a rule; it may not be there."""
    return settings.home / "points" / settings.target / settings.marts / "-".join([str(SHAPE), *builds])


class Index:
    """Where the index of the marts is, or is to be.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.
    warehouse : Warehouse
        The same, open.
    begin : callable
        Called before the index is made, which takes a minute or two for the world.

    """

    def __init__(self, settings: Settings, warehouse: Warehouse, begin: Callable[[], None] = lambda: None) -> None:
        builds = sorted({each.build_id for each in warehouse.editions() if each.build_id})
        self._is_known = bool(builds)
        self._folder = folder_of(settings, builds)
        self._warehouse, self._begin, self._dataset = warehouse, begin, settings.boundaries

    @property
    def is_there(self) -> bool:
        """Whether it has been made."""
        return self._is_known and self._folder.is_dir()

    def folder(self) -> Path:
        """Return the folder; make the index first if it is not there.

        Raises
        ------
        MartsMissing
            When the marts do not say which build they are of.
        MartsReplaced
            When a build replaced the marts while they were read.
        TargetUnavailable
            When it cannot be written.
        """
        if not self._is_known:
            raise MartsMissing(edition.UNKNOWN, f"Run `{build_command(self._dataset)}`.")
        if self.is_there:
            return self._folder
        try:
            private_folder(self._folder.parent)
            with FileLock(self._folder.parent / "lock"):
                if not self.is_there:  # another process may have made it, while this one waited
                    self._begin()
                    self._fill()
        except OSError as error:
            raise TargetUnavailable(
                f"The index of points cannot be written to {self._folder.parent}: {error.strerror}.",
                "Make room there (4 GB for the world), or set WAREHOUSE_HOME to a folder of your own.",
            ) from error
        return self._folder

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Yield the folder, which other builds do not remove before the block has ended.

        Whoever has opened the index keeps it in any case; this is for processes that are to open it later.

        Raises
        ------
        MartsReplaced
            When a build replaced the marts meanwhile.
        """
        folder = self.folder()
        try:
            file = (folder / HELD).open("a")
        except OSError as error:
            raise MartsReplaced("A build has replaced the marts meanwhile.", "Run the command again.") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)
            if not self.is_there:
                raise MartsReplaced("A build has replaced the marts meanwhile.", "Run the command again.")
            yield folder

    def _fill(self) -> None:
        self._clear()
        draft = self._folder.with_name(f"making-{self._folder.name}")
        try:
            with of_one_build(self._warehouse):
                _make(draft, self._warehouse)
            wait_for_disk(draft)
            draft.rename(self._folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._clear()

    def _clear(self) -> None:
        """Remove what is of another build, or was never completed."""
        for each in self._folder.parent.iterdir():
            if each.is_dir() and each != self._folder:
                _remove(each)


def _remove(folder: Path) -> None:
    """Remove an index, unless somebody holds it."""
    with (folder / HELD).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(folder)


def _make(folder: Path, warehouse: Warehouse) -> None:
    from admin_boundaries.locate.layer import make_layer

    marts = {layer: needed(warehouse, mart) for layer, (mart, _) in LAYERS.items()}
    tables = {"units": _units(warehouse), "zones": _zones(warehouse)}
    warehouse.keep_little()
    for layer, (_, key) in LAYERS.items():
        (folder / layer).mkdir(parents=True)
        table = tables.pop(layer)
        keys = table[key].combine_chunks()
        levels = [name for name in table.column_names if name.startswith("gid_")] or [key]
        above = np.column_stack([_numbers(table[level], keys) for level in levels])
        encoded = [column.dictionary_encode() if pa.types.is_string(column.type) else column for column in table]
        names = pa.table(encoded, table.column_names)
        feather.write_feather(names, str(folder / layer / "names.arrow"), compression="uncompressed")
        make_layer(folder / layer, keys, above, _parts(warehouse, marts[layer], key))


def _units(warehouse: Warehouse) -> pa.Table:
    """Return the units that have parts, in the order in which an answer lists them."""
    chain = ", ".join(
        f"max({value}) filter (where ancestor_level = {level}) as {name}_{level}"
        for value, name in (("ancestor_gid", "gid"), ("named.name", "name"))
        for level in LEVELS
    )
    rows = warehouse.rows(UNITS.format(chain=chain, marts=warehouse.marts))
    rows.sort(key=lambda row: str(row[0]).encode())
    fields = [
        pa.field(name, pa.int32() if name == "admin_level" else pa.string())
        for name in COLUMNS[COLUMNS.index("gid") : COLUMNS.index("gids")]
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    return pa.table(arrays, schema=pa.schema(fields))


def _zones(warehouse: Warehouse) -> pa.Table:
    """Return the zones that have parts, likewise: those of the oceans come last."""
    zones = [str(tzid) for (tzid,) in warehouse.rows(ZONES.format(marts=warehouse.marts))]
    zones.sort(key=lambda tzid: (tzid.startswith("Etc/"), tzid.encode()))
    return pa.table({"tzid": pa.array(zones, pa.string())})


def _numbers(keys: pa.ChunkedArray, known: pa.Array) -> Numbers:
    numbers: Numbers = pc.index_in(keys, value_set=known).fill_null(-1).to_numpy().astype(np.int32)
    return numbers


def _parts(warehouse: Warehouse, mart: Mart, key: str) -> Iterator[pa.RecordBatch]:
    yield from warehouse.reader(mart, [key, f"{warehouse.as_wkb}(geom)"])
