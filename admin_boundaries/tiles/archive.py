"""Write the archive: units are cut into tiles zoom by zoom, wait on disk, and are put together tile by tile.

The vertices that are drawn at a zoom are chosen once for all units, by `admin_units_simplified`, and set on one grid of
the whole world. So borders that units share in the mart are the same vertices in the tiles.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pmtiles.tile import Compression, TileType, tileid_to_zxy
from pmtiles.writer import Writer

from admin_boundaries import edition, licences
from admin_boundaries.coverage.simplify import TOLERANCES, coverage_simplified
from admin_boundaries.coverage.threads import in_threads
from admin_boundaries.export import check_countries
from admin_boundaries.files import check_place, replacing
from admin_boundaries.marts import GEOMETRY, TIMEZONES, Mart, relation
from admin_boundaries.tiles import attributes, kernels
from admin_boundaries.tiles.attributes import LAST_FROM_ZOOM, Attributes
from admin_boundaries.tiles.kernels import Bytes, Integers
from admin_boundaries.warehouse import Warehouse, how_to_make, known_marts, of_one_build, open_warehouse
from ingest.errors import CountMismatch, ExportFailed, MartsMissing, UsageError
from ingest.settings import Settings

LABELS = "labels"
LAYERS = {
    **{f"level_{level}": f"Units of level {level}" for level in range(6)},
    TIMEZONES: "Time zones",
    LABELS: "Names of units, each at a point in its largest part, where there is room for it",
}
ZONE_LAYER, LABEL_LAYER = 6, 7
# Of each layer. A zoom earlier, a tile of Java would have some 15,000 villages, whose keys and names take much of
# MAX_BYTES, and no coarser grid makes them less.
FIRST_ZOOMS = (0, 2, 4, 7, 8, 9, 0, 0)
MAX_ZOOM = 10
TOLERANCE_OF = {zoom: TOLERANCES[2] if zoom < 4 else TOLERANCES[1] if zoom < 7 else TOLERANCES[0] for zoom in range(11)}
FINE, COARSE = 4096, 2048  # lines of the grid along a tile, of the last zoom and of the others
MAX_BYTES = 500_000
STEPS = (2, 4, 8, 16, 32)  # of a grid that is coarser, where a tile is too large
TILES_AT_ONCE = 512
BYTES_AT_ONCE = 32_000_000
PIXELS_OF_LETTER, PIXELS_OF_LINE = 5.0, 14  # of a label
MAX_LATITUDE = 85.0511287798066  # where the world of web maps ends
SIMPLIFIED = "admin_units_simplified"
Report = Callable[[float], None]
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass
class Zoom:
    """What is known of a zoom while its tiles wait on disk.

    Attributes
    ----------
    number : int
        The zoom.
    file : file
        The commands of all pieces.
    pieces : list of ndarray of int64, shape (k, 5)
        Number of the tile, layer, unit, offset in the file and length.
    size : int
        Of the file, in bytes.
    """

    number: int
    file: IO[bytes]
    pieces: list[Integers] = field(default_factory=list)
    size: int = 0

    @property
    def extent(self) -> int:
        """Lines of the grid along a tile."""
        return FINE if self.number == MAX_ZOOM else COARSE

    def add(self, layer: Integers, units: Integers, pieces: Integers, data: Bytes) -> None:
        """Keep pieces of units until all are there."""
        row = np.empty_like(pieces)
        row[:, 0] = kernels.tile_ids(self.number, pieces[:, 1], pieces[:, 2])
        row[:, 1], row[:, 2] = layer[pieces[:, 0]], units[pieces[:, 0]]
        row[:, 3] = np.where(pieces[:, 3] == kernels.FULL, kernels.FULL, pieces[:, 3] + self.size)
        row[:, 4] = pieces[:, 4]
        self.file.write(data.data)
        self.size += len(data)
        self.pieces.append(row)


@dataclass(frozen=True)
class Batch:
    """Some units of a tolerance, or time zones.

    Attributes
    ----------
    layers, units : ndarray of int64, shape (n,)
        Layer and number of each.
    geoms : ndarray of MultiPolygon, shape (n,)
        In degrees.
    zooms : sequence of int
        Those that they are drawn at, if their layer is.
    """

    layers: Integers
    units: Integers
    geoms: npt.NDArray[np.object_]
    zooms: Sequence[int]


def write(
    settings: Settings,
    countries: Sequence[str],
    output: Path,
    *,
    overwrite: bool,
    of_datasets: licences.OfDatasets,
    progress: Report,
    warn: Callable[[str], None],
    warn_of_licences: Callable[[str], None],
) -> list[str]:
    """Open the warehouse, and write its units and time zones to a PMTiles archive; see `write_from`."""
    with open_warehouse(settings) as warehouse:
        return write_from(
            warehouse,
            countries,
            output,
            overwrite=overwrite,
            of_datasets=of_datasets,
            progress=progress,
            warn=warn,
            warn_of_licences=warn_of_licences,
        )


def check(warehouse: Warehouse, known: Mapping[str, Mart]) -> None:
    """Refuse marts without the units that tiles are drawn from.

    Raises
    ------
    MartsMissing
    """
    if SIMPLIFIED not in known:
        raise MartsMissing(
            f"The marts of {warehouse.dataset} have no {SIMPLIFIED}, which tiles are drawn from.",
            how_to_make(warehouse),
        )


def write_from(
    warehouse: Warehouse,
    countries: Sequence[str],
    output: Path,
    *,
    overwrite: bool,
    of_datasets: licences.OfDatasets,
    progress: Report,
    warn: Callable[[str], None],
    warn_of_licences: Callable[[str], None],
) -> list[str]:
    """Write all units and time zones, or those of some countries, to a PMTiles archive.

    Parameters
    ----------
    warehouse : Warehouse
        The marts; it uses little memory from here on.
    countries : sequence of str
        Keys of level 0; everything if empty.
    output : Path
        The archive; its suffix is ``.pmtiles``.
    overwrite : bool
        Replace an existing file.
    of_datasets : mapping of str to (str, str, str)
        Licence, attribution and source name of each dataset, for rows that do not have them.
    progress : callable
        Called with the share that is done.
    warn : callable
        Called with a sentence for each dataset whose marts are stale.
    warn_of_licences : callable
        Called with a sentence if the file holds data that may not be published, and if it mixes licences.

    Returns
    -------
    list of str
        What was written, and which tiles are drawn coarser to be small enough.

    Raises
    ------
    UsageError
        When a country is unknown, or the file exists or has another suffix.
    MartsMissing
        When the simplified units have not been built.
    MartsReplaced
        When a build replaced the marts meanwhile. Nothing is written then.
    CountMismatch
        When a unit is in no tile.
    ExportFailed
        When a tile is too large even on the coarsest grid.
    """
    if output.suffix.lower() != ".pmtiles":
        raise UsageError(f"The suffix of {output.name} is not .pmtiles.", "Name the archive, as in: -o world.pmtiles")
    check_place(output, overwrite=overwrite)
    warehouse.keep_little()
    known = known_marts(warehouse)
    check(warehouse, known)
    check_countries(warehouse, countries)
    for fault in edition.faults(warehouse.editions()):
        warn(fault)
    with (
        replacing(output) as draft,
        of_one_build(warehouse),
        ExitStack() as files,
        tempfile.TemporaryDirectory(dir=output.parent, prefix=".tiles") as folder,
    ):
        work = _Work(warehouse, known, countries, Path(folder), files, progress)
        work.cut()
        rights = licences.of_marts(
            warehouse, known, [known[name] for name in (*_levels(known), TIMEZONES)], of_datasets, countries
        )
        metadata = work.metadata(licences.texts(rights))
        tiles, coarse, largest = work.put_together(draft, metadata)
    for warning in licences.warnings(rights, output.name):
        warn_of_licences(warning)
    size = output.stat().st_size / 1e6
    said = [f"{output}: {tiles:,} tiles, {size:,.1f} MB; the largest tile has {largest / 1000:,.0f} kB"]
    if coarse:
        listed = ", ".join(coarse[:5]) + (f" and {len(coarse) - 5:,} more" if len(coarse) > 5 else "")
        said.append(f"drawn on a coarser grid, so as not to be larger than {MAX_BYTES // 1000} kB: {listed}")
    return said


@dataclass(frozen=True)
class Cut:
    """Units or labels of a batch, cut into the tiles of a zoom.

    Attributes
    ----------
    batch : Batch
        The batch.
    zoom : int
        The zoom.
    shown : ndarray of int64
        Which of its units are drawn.
    pieces, data : ndarray
        See `kernels.cut`.
    is_label : bool
        Whether these are points for their names.
    """

    batch: Batch
    zoom: int
    shown: Integers
    pieces: Integers
    data: Bytes
    is_label: bool = False


def _on_map(points: Floats) -> tuple[Floats, Floats]:
    """Return where points are on the square of web maps, from 0 to 1, from its north-western corner."""
    sine = np.sin(np.radians(np.clip(points[:, 1], -MAX_LATITUDE, MAX_LATITUDE)))
    return (points[:, 0] + 180) / 360, np.clip(0.5 - np.log((1 + sine) / (1 - sine)) / (4 * np.pi), 0, 1)


def _beyond_the_edge(
    x: Integers, y: Integers, rings: Integers, scale: int, buffer: int
) -> tuple[Integers, Integers, Integers]:
    """Let units go on where the world ends, as far as tiles show it: they do on the other side, so no line is there.

    Parameters
    ----------
    x, y : ndarray of int64, shape (n,)
        Vertices on the grid.
    rings : ndarray of int64
        Offsets of rings among them; the last vertex of a ring is its first.
    scale, buffer : int
        Lines of the grid around the world, and how many of them are shown beyond its edge.

    Returns
    -------
    x, y, rings : ndarray of int64
        With a vertex beyond the edge for each end of a run along it.
    """
    side = (x == scale).astype(np.int64) - (x == 0)
    if not side.any():
        return x, y, rings
    firsts, lasts = rings[:-1], rings[1:] - 1
    after, before = np.append(side[1:], 0), np.insert(side[:-1], 0, 0)
    after[lasts], before[firsts] = side[firsts + 1], side[lasts - 1]
    begins, ends = (side != 0) & (after == side), (side != 0) & (before == side)
    counts = 1 + (begins ^ ends)
    at = np.repeat(np.arange(len(x)), counts)
    is_second = np.concatenate([[False], at[1:] == at[:-1]])
    is_beyond = np.where(begins[at] & ends[at], True, np.where(begins[at], is_second, ends[at] & ~is_second))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return x[at] + side[at] * is_beyond * buffer, y[at], starts[rings]


def _room(geoms: npt.NDArray[np.object_]) -> tuple[Integers, npt.NDArray[np.object_], Floats, Floats]:
    """Return where names go: which units have a part, the largest of each, and how wide and high that is on average."""
    parts, owners = shapely.get_parts(geoms, return_index=True)
    area = shapely.area(parts)
    order = np.lexsort((area, owners))
    largest = order[np.flatnonzero(np.diff(owners[order], append=-1))]
    bounds = shapely.bounds(parts[largest])
    (west, north), (east, south) = _on_map(bounds[:, [0, 3]]), _on_map(bounds[:, [2, 1]])
    box = (bounds[:, 2] - bounds[:, 0]) * (bounds[:, 3] - bounds[:, 1])
    share = np.sqrt(area[largest] / np.where(box > 0, box, np.inf))
    return owners[largest].astype(np.int64), parts[largest], share * (east - west), share * (south - north)


def _levels(known: dict[str, Mart]) -> Iterator[str]:
    return (name for name in (f"admin_level_{level}" for level in range(6)) if name in known)


class _Work:
    """The tiles while they are made."""

    def __init__(
        self,
        warehouse: Warehouse,
        known: dict[str, Mart],
        countries: Sequence[str],
        folder: Path,
        files: ExitStack,
        progress: Report,
    ) -> None:
        self._warehouse, self._known, self._progress = warehouse, known, progress
        self._folder, self._parameters = folder, tuple(countries)
        marks = ", ".join("?" * len(countries))
        of_units = f"select gid from {relation(known['admin_units'])} where country_gid in ({marks})"  # noqa: S608
        self._of_units = f"gid in ({of_units})" if countries else "true"
        self._of_zones = "true"
        if countries:
            self._of_zones = (
                f"tzid in (select tzid from {relation(known['admin_unit_timezones'])} "  # noqa: S608
                f"where not is_border_sliver and gid in ({of_units}))"
            )
        self.attributes = attributes.read(warehouse, known, (self._of_units, self._parameters))
        self._zooms = [
            Zoom(number, files.enter_context((folder / str(number)).open("w+b"))) for number in range(MAX_ZOOM + 1)
        ]
        self._drawn = np.zeros((len(self.attributes.gids), MAX_ZOOM + 1), bool)
        self._given = np.zeros((len(self.attributes.gids), MAX_ZOOM + 1), bool)
        self._box = np.array([180.0, 90.0, -180.0, -90.0])

    def cut(self) -> None:
        """Cut all units and time zones into tiles, which wait on disk; check that each is in some tile."""
        in_threads(self._pieces, self._batches(), self._keep, ahead=2)
        lost = np.argwhere(self._given & ~self._drawn)
        if len(lost):
            unit, zoom = lost[0]
            raise CountMismatch(
                f"{self.attributes.gids[int(unit)]} is in no tile of zoom {zoom}, and {len(lost) - 1:,} others are in "
                "none either.",
                "Please report it: nothing was written.",
            )

    def _batches(self) -> Iterator[Batch]:
        simplified = self._known[SIMPLIFIED]
        ((total,),) = self._warehouse.rows(
            f"select count(*) from {relation(simplified)} where {self._of_units}",  # noqa: S608
            self._parameters,
        )
        done = 0
        zones, drawn = self._zones()
        for tolerance, shapes in zip(TOLERANCES, drawn, strict=True):
            zooms = [zoom for zoom, used in TOLERANCE_OF.items() if used == tolerance]
            if len(zones):
                yield Batch(np.full(len(zones), ZONE_LAYER, np.int64), zones, shapes, zooms)
            reader = self._warehouse.reader(
                simplified,
                ["gid", "admin_level", f"{self._warehouse.as_wkb}({GEOMETRY})"],
                f"tolerance_degrees = ? and {self._of_units}",
                (tolerance, *self._parameters),
            )
            for batch in reader:
                done += len(batch)
                yield self._batch(batch.column(0), batch.column(1).to_numpy().astype(np.int64), batch.column(2), zooms)
                self._progress(0.8 * done / max(total, 1))

    def _zones(self) -> tuple[Integers, list[npt.NDArray[np.object_]]]:
        """Return the numbers of the time zones, and for each tolerance their shapes, simplified as one coverage."""
        reader = self._warehouse.reader(
            self._known[TIMEZONES],
            ["tzid", f"{self._warehouse.as_wkb}({GEOMETRY})"],
            f"{GEOMETRY} is not null and {self._of_zones}",
            self._parameters,
        )
        table = reader.read_all().sort_by("tzid")
        numbers = attributes.numbers_of(self.attributes, table.column(0).combine_chunks())
        geoms = shapely.from_wkb(table.column(1).to_numpy(zero_copy_only=False))
        return numbers, coverage_simplified(geoms, TOLERANCES) if len(numbers) else [geoms] * len(TOLERANCES)

    def _batch(self, keys: pa.Array, levels: Integers, wkb: pa.Array, zooms: Sequence[int]) -> Batch:
        numbers = attributes.numbers_of(self.attributes, keys.cast(pa.string()))
        return Batch(levels, numbers, shapely.from_wkb(wkb.to_numpy(zero_copy_only=False)), zooms)

    def _pieces(self, batch: Batch) -> list[Cut]:
        _kind, points, (rings, polygons, units) = shapely.to_ragged_array(batch.geoms)
        x, y = _on_map(points)
        first = np.array(FIRST_ZOOMS)[batch.layers]
        offsets = [each.astype(np.int64) for each in (rings, polygons, units)]
        made = []
        for zoom in batch.zooms:
            shown = np.flatnonzero(first <= zoom)
            if not len(shown):
                continue
            scale = self._zooms[zoom].extent << zoom
            on_x, on_y = (np.rint(each * scale).astype(np.int64) for each in (x, y))
            starts, ends = offsets[2][shown], offsets[2][shown + 1]
            extent = self._zooms[zoom].extent
            beyond = kernels.BUFFER_PIXELS * extent // kernels.PIXELS
            edged = _beyond_the_edge(on_x, on_y, offsets[0], scale, beyond)
            pieces, data = kernels.cut(zoom, extent, *edged, offsets[1], starts, ends)
            made.append(Cut(batch, zoom, shown, pieces, data))
        if batch.layers[0] != ZONE_LAYER:
            made += self._labels(batch)
        return made

    def _labels(self, batch: Batch) -> Iterator[Cut]:
        """Yield the names of units where there is room for them; at the last zoom, all: maps enlarge its tiles."""
        at, parts, across, down = _room(batch.geoms)
        units, letters = batch.units[at], self.attributes.label_widths[batch.units[at]]
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.maximum(PIXELS_OF_LETTER * letters / across, PIXELS_OF_LINE / down) / kernels.PIXELS
        from_zooms = np.ceil(np.log2(np.clip(needed, 1, 2**LAST_FROM_ZOOM))).astype(np.int64)
        from_zooms = np.maximum(from_zooms, np.array(FIRST_ZOOMS)[batch.layers[at]])
        attributes.write_from_zooms(self.attributes, units, from_zooms)
        inside = _on_map(shapely.get_coordinates(shapely.point_on_surface(parts)))
        for zoom in batch.zooms:
            has_room = (from_zooms <= zoom) | (zoom == MAX_ZOOM)
            shown = np.flatnonzero(has_room & (letters > 0))
            if len(shown):
                extent = self._zooms[zoom].extent
                x, y = (np.rint(each[shown] * (extent << zoom)).astype(np.int64) for each in inside)
                yield Cut(batch, zoom, at[shown], *kernels.points(zoom, extent, x, y), is_label=True)

    def _keep(self, made: list[Cut]) -> None:
        for cut in made:
            batch, zoom = cut.batch, self._zooms[cut.zoom]
            units = batch.units[cut.shown]
            if cut.is_label:
                labels = units + len(self.attributes.gids)
                zoom.add(np.full(len(units), LABEL_LAYER), labels, cut.pieces, cut.data)
                continue
            low, high = np.split(shapely.total_bounds(batch.geoms), 2)
            self._box = np.concatenate([np.minimum(self._box[:2], low), np.maximum(self._box[2:], high)])
            self._given[units, cut.zoom] = True
            self._drawn[units[np.unique(cut.pieces[:, 0])], cut.zoom] = True
            zoom.add(batch.layers[cut.shown], units, cut.pieces, cut.data)

    def metadata(self, rights: dict[str, str]) -> dict[str, object]:
        """Return what the archive says of itself."""
        editions = self._warehouse.editions()
        releases = {each.dataset: each.run.release for each in editions if each.run}
        return {
            "name": f"Administrative boundaries and time zones: {self._warehouse.dataset}",
            "description": "Units of all levels and time zones, from tested marts.",
            "type": "overlay",
            "version": "1",
            "dataset": self._warehouse.dataset,
            "releases": releases,
            "build": next((each.build_id for each in editions), None),
            "generator": "python -m ingest tiles",
            **rights,
            "vector_layers": [
                {
                    "id": layer,
                    "description": description,
                    "minzoom": FIRST_ZOOMS[number],
                    "maxzoom": MAX_ZOOM,
                    "fields": attributes.DESCRIPTIONS,
                }
                for number, (layer, description) in enumerate(LAYERS.items())
                if self._has(number)
            ],
        }

    def _has(self, layer: int) -> bool:
        return any((rows[:, 1] == layer).any() for rows in self._zooms[MAX_ZOOM].pieces)

    def put_together(self, draft: Path, metadata: dict[str, object]) -> tuple[int, list[str], int]:
        """Write the archive; return the number of tiles, those that are drawn coarser, and the size of the largest."""
        tables = _Tables(self.attributes)
        count, largest, coarse = 0, 0, list[str]()

        def keep(number: int, tile: bytes, step: int) -> None:
            nonlocal count, largest
            writer.write_tile(number, tile)
            largest, count = max(largest, len(tile)), count + 1
            if step > 1:
                coarse.append("/".join(map(str, tileid_to_zxy(number))))

        with draft.open("wb") as file:
            writer = Writer(file)
            for zoom in self._zooms:
                _write_tiles(zoom, tables, keep)
                self._progress(0.8 + 0.2 * (zoom.number + 1) / len(self._zooms))
            west, south, east, north = (round(float(degrees) * 10**7) for degrees in self._box)
            box = {"min_lon_e7": west, "min_lat_e7": south, "max_lon_e7": east, "max_lat_e7": north}
            header = {"tile_type": TileType.MVT, "tile_compression": Compression.GZIP, **box}
            writer.finalize(header, metadata)
        return count, coarse, largest


class _Tables:
    """The texts of tiles, as the kernel takes them."""

    def __init__(self, of_units: Attributes) -> None:
        self.codes, self.values, self.value_offsets = of_units.codes, of_units.values, of_units.offsets
        self.names = np.frombuffer("".join(LAYERS).encode(), np.uint8)
        self.name_offsets = np.concatenate([[0], np.cumsum([len(name) for name in LAYERS])]).astype(np.int64)
        keys = b"".join(attributes.field_of(kernels.LAYER_KEY, key.encode()) for key in attributes.KEYS)
        self.keys = np.frombuffer(keys, np.uint8)

    def put_together(self, tiles: Integers, pieces: Integers, data: Bytes, extent: int, step: int) -> Made:
        """Return tiles, compressed, and the step."""
        notes = np.full((len(self.value_offsets), 2), -1, np.int64)
        made, ends = kernels.put_together(
            tiles,
            pieces,
            data,
            extent,
            step,
            self.codes,
            self.values,
            self.value_offsets,
            self.names,
            self.name_offsets,
            self.keys,
            LABEL_LAYER,
            notes,
        )
        starts = np.concatenate([[0], ends[:-1]])
        whole = made.tobytes()
        return [
            (gzip.compress(whole[start:end], 6, mtime=0), step)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]


Made: TypeAlias = list[tuple[bytes, int]]  # tiles, and the step of the grid of each


def _write_tiles(zoom: Zoom, tables: _Tables, write: Callable[[int, bytes, int], None]) -> None:
    """Write the tiles of a zoom in their order: number, content, and the step of the grid that it is drawn on."""
    if not zoom.pieces:
        return
    pieces = np.concatenate(zoom.pieces)
    zoom.pieces.clear()
    pieces = pieces[np.lexsort((pieces[:, 2], pieces[:, 1], pieces[:, 0]))]
    zoom.file.flush()
    data = np.asarray(np.memmap(zoom.file, np.uint8, "r+", shape=(zoom.size,))) if zoom.size else np.empty(0, np.uint8)
    bounds = np.append(np.flatnonzero(np.diff(pieces[:, 0], prepend=-1)), len(pieces))
    ids = pieces[bounds[:-1], 0].tolist()
    new = np.flatnonzero(_differ_from_last(pieces, bounds))
    size = np.cumsum(np.add.reduceat(pieces[:, 4], bounds[:-1])[new])
    chunk = np.maximum(np.arange(len(new)) // TILES_AT_ONCE, size // BYTES_AT_ONCE)
    cuts = np.flatnonzero(np.diff(chunk)) + 1

    def make(run: tuple[Integers, Integers]) -> tuple[Integers, Integers, Made]:
        starts, ends = run
        made = tables.put_together(*_of_tiles(starts, bounds, pieces), data, zoom.extent, 1)
        for at, tile in enumerate(starts):
            for step in STEPS:
                if len(made[at][0]) <= MAX_BYTES:
                    break
                alone = _of_tiles(np.array([tile]), bounds, pieces)
                (made[at],) = tables.put_together(*alone, data, zoom.extent, step)
            if len(made[at][0]) > MAX_BYTES:
                name = "/".join(map(str, tileid_to_zxy(int(pieces[bounds[tile], 0]))))
                raise ExportFailed(
                    f"The tile {name} shows {bounds[tile + 1] - bounds[tile]:,} units and names, and has "
                    f"{len(made[at][0]) / 1000:,.0f} kB on the coarsest grid, more than {MAX_BYTES // 1000} kB.",
                    "Draw fewer countries, with --country.",
                )
        return starts, ends, made

    def take(done: tuple[Integers, Integers, Made]) -> None:
        for start, end, (content, step) in zip(*done, strict=True):
            for number in ids[start:end]:
                write(number, content, step)

    runs = zip(np.split(new, cuts), np.split(np.append(new[1:], len(ids)), cuts), strict=True)
    in_threads(make, runs, take)


def _of_tiles(tiles: Integers, bounds: Integers, pieces: Integers) -> tuple[Integers, Integers]:
    """Return offsets of tiles among their pieces, and these: layer, unit, offset and length."""
    counts = bounds[tiles + 1] - bounds[tiles]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    at = np.repeat(bounds[tiles] - offsets[:-1], counts) + np.arange(offsets[-1])
    return offsets, pieces[at, 1:].copy()


def _differ_from_last(pieces: Integers, bounds: Integers) -> npt.NDArray[np.bool_]:
    """Return which tiles differ from the one before: the others have the same units, and each covers the tile."""
    counts = np.diff(bounds)
    before = np.arange(len(pieces)) - np.repeat(counts, counts)
    is_same = (pieces[:, 3] == kernels.FULL) & (before >= 0) & (pieces[before, 1:] == pieces[:, 1:]).all(axis=1)
    same = np.logical_and.reduceat(is_same, bounds[:-1])
    same[0] = False
    same[1:] &= counts[1:] == counts[:-1]
    return ~same
