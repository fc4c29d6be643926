"""Points to look up: evenly on land, and like people live. Both are the same for the same marts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import shapely

from admin_boundaries.coverage.threads import in_threads
from admin_boundaries.duckdb_spatial import load_spatial
from admin_boundaries.locate.locator import Locator

Floats = npt.NDArray[np.float64]
Pair = tuple[Floats, Floats]
BATCH = 1 << 20
PARTS = 20_000  # at once
ROUNDS = 100  # of drawing; a part that takes more is a sliver
SEED = 19
AREAS = "select gid, st_area(geom) as area from marts.internal_leaf_parts"
SHAPES = "select st_aswkb(geom) as shape from marts.internal_leaf_parts"


def sphere(count: int, seed: int) -> Pair:
    """Return longitudes and latitudes, evenly spread over the sphere."""
    random = np.random.default_rng([SEED, seed])
    return random.uniform(-180, 180, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))


def on_land(locator: Locator, count: int) -> Pair:
    """Return points that are evenly spread over the sphere, of which those are left out that lie in no unit.

    Parameters
    ----------
    locator : Locator
        Tells where a unit lies.
    count : int
        How many to return.
    """
    kept: list[Pair] = []

    def drawn(seed: int) -> Pair:
        lons, lats = sphere(BATCH, seed)
        is_land = locator.find(lons, lats).units > 0
        return lons[is_land], lats[is_land]

    def seeds() -> Iterator[int]:
        seed = 0
        while sum(len(lons) for lons, _ in kept) < count:
            yield seed
            seed += 1

    in_threads(drawn, seeds(), kept.append)
    lons, lats = _joined(kept)
    return lons[:count], lats[:count]


def like_people(connection: duckdb.DuckDBPyConnection, count: int) -> Pair:
    """Return points that are dense where units are small: of a unit that is drawn at random, any point, as likely.

    For each point, a unit is drawn, and one of its parts, the more likely the larger. Points in the box of a part are
    drawn until enough of them lie in it. In a part so narrow that few do, a point on it is taken instead.

    Parameters
    ----------
    connection : DuckDBPyConnection
        To the marts.
    count : int
        How many to return.
    """
    table = connection.execute(AREAS).fetch_arrow_table()
    codes = pc.dictionary_encode(table["gid"].combine_chunks()).indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.maximum(table["area"].to_numpy()[order], 1e-15))
    last = np.searchsorted(codes[order], np.arange(codes.max() + 1), side="right") - 1
    upper = ends[last]
    lower = np.concatenate([[0.0], upper[:-1]])
    random = np.random.default_rng([SEED, 1])
    units = random.integers(0, len(upper), count)
    at = np.searchsorted(ends, lower[units] + random.random(count) * (upper - lower)[units])
    wanted = np.bincount(order[np.minimum(at, len(order) - 1)], minlength=len(order))
    kept: list[Pair] = []
    reader = connection.execute(SHAPES).fetch_record_batch(PARTS)
    firsts = range(0, len(wanted), PARTS)
    batches = ((batch, wanted[first : first + PARTS]) for first, batch in zip(firsts, _whole(reader), strict=True))
    in_threads(lambda item: _inside(*item), batches, kept.append)
    lons, lats = _joined(kept)
    order = np.random.default_rng([SEED, 2]).permutation(len(lons))
    return lons[order], lats[order]


def _whole(reader: pa.RecordBatchReader) -> Iterator[pa.Array]:
    """Yield shapes by `PARTS`, however many come at once."""
    waiting: list[pa.Array] = []
    for batch in reader:
        waiting.append(batch.column(0))
        while sum(map(len, waiting)) >= PARTS:
            shapes = pa.concat_arrays(waiting)
            yield shapes[:PARTS]
            waiting = [shapes[PARTS:]]
    if sum(map(len, waiting)):
        yield pa.concat_arrays(waiting)


def _inside(wkb: pa.Array, counts: npt.NDArray[np.int64]) -> Pair:
    """Return as many random points in each shape as are wanted."""
    shapes = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))
    shapely.prepare(shapes)
    west, south, east, north = shapely.bounds(shapes).T
    random = np.random.default_rng([SEED, 3, int(counts.sum()), len(counts)])
    left = np.repeat(np.arange(len(shapes)), counts)
    kept: list[Pair] = []
    for _ in range(ROUNDS):
        lons = random.uniform(west[left], east[left])
        lats = random.uniform(south[left], north[left])
        is_in = shapely.contains_xy(shapes[left], lons, lats)
        kept.append((lons[is_in], lats[is_in]))
        left = left[~is_in]
    some = shapely.point_on_surface(shapes[left])
    return _joined([*kept, (shapely.get_x(some), shapely.get_y(some))])


def _joined(pairs: list[Pair]) -> Pair:
    lons, lats = zip(*pairs, strict=True)
    return np.concatenate(lons), np.concatenate(lats)


def write(path: Path, lons: Floats, lats: Floats) -> None:
    """Write a Parquet file of points with their numbers."""
    pq.write_table(pa.table({"id": np.arange(len(lons)), "lon": lons, "lat": lats}), path, row_group_size=BATCH)


def first(path: Path, count: int) -> Path:
    """Return the file of the first of a file's points; write it if it is not there."""
    some = path.with_name(f"{path.stem}-{count}.parquet")
    if not some.exists():
        pq.write_table(pq.read_table(path).slice(0, count), some, row_group_size=BATCH)
    return some


def as_csv(path: Path) -> Path:
    """Return a Parquet file's points as a CSV file; write it if it is not there."""
    text = path.with_suffix(".csv")
    if not text.exists():
        pa_csv.write_csv(pq.read_table(path), text, pa_csv.WriteOptions(quoting_style="none"))
    return text


def connected(warehouse: Path, *, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    """Open a warehouse file, without the functions of this project."""
    connection = duckdb.connect(str(warehouse), read_only=read_only)
    load_spatial(connection)
    return connection
