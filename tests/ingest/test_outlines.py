"""Units are compared in pieces, in blocks and in threads: these change no answer, and an error leaves none behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import shapely
from geoarrow.c.lib import GeoArrowCException
from shapely import MultiPolygon, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from admin_boundaries.coverage import hashing, outlines, segments, threads
from admin_boundaries.coverage import neighbours as comparison
from admin_boundaries.coverage.arrays import TOLERANCE, Hashes, Numbers
from admin_boundaries.coverage.neighbours import neighbours
from admin_boundaries.coverage.segments import Buckets, Spill
from admin_boundaries.coverage.sorting import NUMBER_BITS, meetings, ordered, parted_words
from admin_boundaries.coverage.threads import from_both_ends, in_threads


@cache
def world() -> dict[str, BaseGeometry]:
    """Return a coverage, units to its north that are drawn with other vertices and a little apart, and islands."""
    dice = np.random.default_rng(16)
    land = box(0, 0, 3, 3)
    cells = shapely.get_parts(
        shapely.voronoi_polygons(shapely.multipoints(dice.uniform(0, 3, (150, 2))), extend_to=land)
    )
    tiles = shapely.segmentize(shapely.intersection(cells, land), 0.02)
    north = [box(west, 3 + TOLERANCE / 3, west + 0.37, 4) for west in 0.37 * np.arange(8)]
    islands = shapely.buffer([Point(place) for place in dice.uniform((4.5, 0), (6, 3), (40, 2))], 0.02)
    shapes = [*tiles, *north, MultiPolygon(list(islands[:30])), *islands[30:], MultiPolygon()]
    return {f"{number:03}": shape for number, shape in enumerate(shapes)}


def answer(gids: Sequence[str] = (), size: int = 1000) -> pa.Table:
    """Return the neighbours in the world, whose units come in this order and in batches of this size."""
    gids = gids or list(world())
    wkb = pa.array([*shapely.to_wkb([world()[gid] for gid in gids]), None], pa.binary())
    table = pa.table({"gid": pa.array([*gids, "none"], pa.string()), "geom": wkb})
    return neighbours([(1, table.to_batches(max_chunksize=size))]).read_all().combine_chunks()


def test_the_made_up_world_has_borders_of_every_kind() -> None:
    kinds = {(row["gid"] >= "150") + (row["neighbour_gid"] >= "150") for row in answer().to_pylist()}
    assert kinds == {0, 1, 2}


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_size_of_batches_changes_no_bit_of_the_answer(size: int) -> None:
    assert answer(size=size).equals(answer())


def test_the_order_of_the_units_changes_no_bit_of_the_answer() -> None:
    for seed in range(3):
        shuffled = [str(gid) for gid in np.random.default_rng(seed).permutation(list(world()))]
        assert answer(shuffled, 10).equals(answer())


@pytest.mark.parametrize("count", [1, 5])
def test_the_number_of_threads_changes_no_bit_of_the_answer(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    expected = answer()
    monkeypatch.setattr(threads, "THREADS", count)
    monkeypatch.setattr(outlines, "PIECE_BYTES", 1 << 10)
    assert answer().equals(expected)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (outlines, "PIECE_BYTES", 1),
        (outlines, "BLOCK_POINTS", 3),
        (segments, "BUCKET_BITS", 2),
        (segments, "NEAR_BITS", 1),
        (comparison, "BLOCK", 64),
        (comparison, "NEAR_BLOCK", 1),
        (comparison, "STRETCH", 4),
        (comparison, "STRETCH", 64),
        (comparison, "BOX_CELLS", 0),
        (comparison, "DEGREES", 0.004),
    ],
)
def test_how_work_is_divided_changes_no_bit_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: float
) -> None:
    expected = answer()
    monkeypatch.setattr(module, name, value)
    assert answer().equals(expected)


def test_segments_do_not_join_the_rings_of_a_unit_or_the_last_ring_with_the_next_unit() -> None:
    holed = MultiPolygon([Polygon(box(0, 0, 9, 9).exterior, [box(3, 3, 4, 4).exterior]), box(20, 0, 21, 1)])
    piece = outlines.piece_of(pa.array(shapely.to_wkb([holed, box(30, 0, 31, 1)])))
    assert piece.is_segment.tolist() == [True, True, True, True, False] * 4
    assert piece.stops.tolist() == [15, 20]


def test_segments_whose_hashes_meet_are_compared_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, lines_of = answer(), hashing.lines_of

    def alike(points: Numbers) -> tuple[npt.NDArray[np.bool_], Hashes]:
        is_segment, hashes = lines_of(points)
        return is_segment, hashes & np.uint64(0xFF << 40)

    monkeypatch.setattr(outlines, "lines_of", alike)
    assert answer().equals(expected)


def test_a_border_on_the_date_line_with_a_vertex_on_one_side_only_is_found() -> None:
    west, east = box(179, 60, 180, 61), Polygon([(-180, 60), (-179, 60), (-179, 61), (-180, 61), (-180, 60.4)])
    table = pa.table({"gid": ["A", "B"], "geom": shapely.to_wkb([west, east])})
    (there, _back) = neighbours([(0, table.to_batches())]).read_all().to_pylist()
    assert there["border_km"] == pytest.approx(111.4, rel=1e-3)


def test_a_level_does_not_see_what_the_one_before_it_left_on_disk() -> None:
    wkb = shapely.to_wkb([box(0, 0, 1, 1), box(1, 0, 2, 1), box(2, 0, 3, 1)])
    large, small = (pa.table({"gid": gids, "geom": wkb[: len(gids)]}) for gids in (["A", "B", "C"], ["D"]))
    found = neighbours((level, units.to_batches()) for level, units in enumerate([large, small, large])).read_all()
    assert found.column("admin_level").to_pylist() == [0, 0, 0, 0, 2, 2, 2, 2]


def test_batches_are_freed_before_the_whole_level_is_read() -> None:
    before, most = pa.total_allocated_bytes(), 0
    size = len(shapely.to_wkb(Point(0, 0).buffer(0.5, 1 << 12)))

    def units() -> Iterator[pa.RecordBatch]:
        nonlocal most
        for lon in range(50):
            wkb = pa.array([shapely.to_wkb(Point(lon, 0).buffer(0.4, 1 << 12))], pa.binary())
            batch = pa.record_batch({"gid": [str(lon)], "geom": wkb})
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            yield pa.ipc.open_stream(sink.getvalue()).read_next_batch()  # its columns are in one piece of memory
            most = max(most, pa.total_allocated_bytes() - before)

    assert neighbours([(0, units())]).read_all().num_rows == 0
    assert most < 20 * size


def test_a_level_with_too_many_vertices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "NUMBER", np.uint64(100))
    with pytest.raises(ValueError, match="A level of more than 100 vertices is too large"):
        answer()


def _refuse_seven(number: int) -> int:
    if number == 7:
        raise ZeroDivisionError
    return number


def _numbers_until_an_error() -> Iterator[int]:
    yield from range(5)
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("function", "items", "take"),
    [
        (_refuse_seven, range(1000), id),
        (id, _numbers_until_an_error(), id),
        (int, range(1000), _refuse_seven),
    ],
    ids=["the function", "the items", "what takes the results"],
)
def test_an_error_is_raised_and_leaves_no_thread_behind(function: object, items: object, take: object) -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        in_threads(function, items, take)  # type: ignore[arg-type]
    assert threading.active_count() == before


def test_what_is_not_a_polygon_is_an_error_and_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    table = pa.table({"gid": ["A", "B"], "geom": pa.array([shapely.to_wkb(box(0, 0, 1, 1)), b"\x01nonsense"])})
    with pytest.raises(GeoArrowCException, match="end of buffer"):
        neighbours([(0, table.to_batches(max_chunksize=1))]).read_all()
    assert threading.active_count() == before


def test_results_are_taken_in_the_order_of_the_items_and_few_items_are_ahead_of_them() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            assert number - len(taken) <= threads.THREADS
            yield number

    slow = threading.Event()
    in_threads(lambda number: (number % 2 or slow.wait(0.001), number)[1], items(), taken.append)
    assert taken == list(range(50))


def test_two_threads_take_items_from_both_ends_each_of_them_once() -> None:
    taken: list[int] = []
    first, last = threading.Event(), threading.Event()

    def take(item: int) -> None:
        taken.append(item)
        (first if item == 0 else last).set()
        assert (last if item == 0 else first).wait(60)

    from_both_ends(take, range(50))
    assert sorted(taken) == list(range(50))
    assert {0, 49} == set(taken[:2])


def test_an_error_at_one_end_ends_the_work_at_the_other() -> None:
    before = threading.active_count()
    taken: list[int] = []
    is_under_way, slow = threading.Event(), threading.Event()

    def take(item: int) -> None:
        taken.append(item)
        if item == 0:
            assert is_under_way.wait(60)
            raise ZeroDivisionError
        is_under_way.set()
        slow.wait(0.001)

    with pytest.raises(ZeroDivisionError):
        from_both_ends(take, range(2000))
    assert len(taken) < 2000
    assert threading.active_count() == before


def test_words_are_sorted_by_what_is_above_their_number_and_met_by_all_of_their_hash() -> None:
    dice = np.random.default_rng(16)
    hashes = dice.choice(dice.integers(0, 1 << 24, 40), 2000).astype(np.uint64) | np.uint64(1 << 27)
    words = hashes << NUMBER_BITS | np.arange(2000, dtype=np.uint64)
    assert np.array_equal(ordered(words), np.sort(words))
    one, other = meetings(words)
    expected = {(at, beside) for at in range(2000) for beside in np.flatnonzero(hashes == hashes[at]) if at < beside}
    assert len(one) == len(expected)
    assert set(zip(one.tolist(), other.tolist(), strict=True)) == expected
    above = meetings(np.array([1, 1 << 55 | 2], np.uint64))  # alike in the bits that they are sorted by
    assert len(above[0]) == 0
    sorted_words, stops = parted_words(words * np.uint64(0x9E3779B97F4A7C15), 3)
    assert [set(part >> np.uint64(61)) for part in np.split(sorted_words, stops[:-1])] == [{at} for at in range(8)]


def test_rows_on_disk_come_back_as_they_were_put_there() -> None:
    rows = np.arange(5000, dtype=np.float64).reshape(-1, 5)
    with Spill() as spill, Buckets() as buckets:
        for repeat in range(2):
            spill.clear()
            buckets.clear()
            for part in np.split(rows[: 900 if repeat else None], [10, 700]):
                spill.add(part)
                buckets.add(part, part[:, 0].astype(np.uint64) % np.uint64(3) << np.uint64(62))
            assert np.array_equal(spill.parts([0, 300], [300, spill.count]), rows[: spill.count])
            number = np.array([spill.count - 2, 0, 513, 512, 511])
            around, at = spill.around(number)
            assert np.array_equal(around[at], rows[number])
            assert np.array_equal(around[at + 1], rows[number + 1])
            found = [bucket for bucket in buckets if len(bucket)]
            assert [set(bucket[:, 0] % 3) for bucket in found] == [{0}, {1}, {2}]
            assert np.array_equal(np.sort(np.concatenate(found), axis=0), rows[: spill.count])
