"""Layers are cut so that nothing is lost and the heaviest part goes first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.layers import plan

MB = 1 << 20
Features = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@st.composite
def layers(draw: st.DrawFn) -> list[tuple[Features, bool]]:
    """Make layers with gaps between ids and features from nothing to 200 MB, each divisible or not.

    Some hold heavy features that are still lighter than a slice is to be, and enough else for slices of that weight.
    """
    light = st.one_of(st.just(0), st.integers(1, 5000))
    heavy = st.integers(plan.HEAVY_BYTES - 1, plan.MAX_SLICE_BYTES)
    size = st.one_of(light, st.just(MB), heavy, st.integers(0, 200 * MB))
    made = []
    for _ in range(draw(st.integers(0, 4))):
        gaps = draw(st.lists(st.integers(1, 50), max_size=60))
        sizes = draw(st.lists(size, min_size=len(gaps), max_size=len(gaps)))
        made.append(((np.cumsum(np.array(gaps, np.int64)), np.array(sizes, np.int64)), draw(st.booleans())))
    if draw(st.booleans()):
        made.append(layer_of([100] * plan.SLICES_WANTED))
    return made


def layer_of(megabytes: list[int]) -> tuple[Features, bool]:
    """Make a divisible layer of features of these weights."""
    return (np.arange(1, len(megabytes) + 1, dtype=np.int64), np.array(megabytes, np.int64) * MB), True


def ranges_of(made: list[tuple[Features, bool]]) -> list[plan.FeatureRange]:
    """Plan what `layers` made."""
    return plan.plan([features for features, _ in made], [divisible for _, divisible in made])


@settings(deadline=None)
@given(layers())
def test_every_feature_is_in_exactly_one_range(made: list[tuple[Features, bool]]) -> None:
    found: list[list[int]] = [[] for _ in made]
    for part in ranges_of(made):
        fids, sizes = made[part.layer_no][0]
        inside = (fids >= part.fid_from) & (fids <= part.fid_to)
        assert (part.row_count, part.bytes) == (inside.sum(), sizes[inside].sum())
        found[part.layer_no] += fids[inside].tolist()
    assert [sorted(fids) for fids in found] == [fids.tolist() for (fids, _), _ in made]


@settings(deadline=None)
@given(layers())
def test_the_heaviest_range_goes_first(made: list[tuple[Features, bool]]) -> None:
    weights = [part.bytes for part in ranges_of(made)]
    assert weights == sorted(weights, reverse=True)


@settings(deadline=None)
@given(layers())
def test_a_format_that_cannot_be_read_from_the_middle_is_one_range(made: list[tuple[Features, bool]]) -> None:
    ranges = ranges_of(made)
    for number, ((fids, _), divisible) in enumerate(made):
        if not divisible:
            assert sum(part.layer_no == number for part in ranges) == (1 if len(fids) else 0)


@settings(deadline=None)
@given(layers())
def test_no_range_is_heavier_than_the_target_by_more_than_its_last_feature(made: list[tuple[Features, bool]]) -> None:
    target = plan.slice_bytes(sum(int(sizes.sum()) for (_, sizes), _ in made))
    for part in ranges_of(made):
        (fids, sizes), divisible = made[part.layer_no]
        last = int(sizes[fids == part.fid_to][0])
        trailing = int(sizes[(fids >= part.fid_from) & (fids <= part.fid_to)][:-1].sum())
        assert not divisible or trailing < target or last == 0


@settings(deadline=None)
@given(layers())
def test_a_range_knows_its_heaviest_feature(made: list[tuple[Features, bool]]) -> None:
    for part in ranges_of(made):
        fids, sizes = made[part.layer_no][0]
        assert part.heaviest == sizes[(fids >= part.fid_from) & (fids <= part.fid_to)].max()


def test_a_country_that_outweighs_others_by_far_is_a_range_of_its_own() -> None:
    sizes = np.array([30, 1, 1, 100, 2, 3, 40, 20], np.int64) * MB
    ranges = plan.plan([(np.arange(1, 9, dtype=np.int64), sizes)], [True])
    assert [(part.fid_from, part.fid_to) for part in ranges] == [(4, 4), (7, 7), (1, 1), (8, 8), (5, 6), (2, 3)]


@settings(deadline=None)
@given(layers())
@example([layer_of([20] + [1] * 20 + [100] * 9)])
@example([layer_of([1] * 20 + [20] + [100] * 9)])
def test_no_feature_shares_its_range_with_a_heavy_one(made: list[tuple[Features, bool]]) -> None:
    for part in ranges_of(made):
        assert part.row_count == 1 or part.heaviest <= plan.HEAVY_BYTES or not made[part.layer_no][1]


def test_nothing_to_load_is_no_range() -> None:
    empty = np.empty(0, np.int64)
    assert plan.plan([(empty, empty)], [True]) == []
    assert plan.plan([], []) == []


def test_slices_are_neither_too_light_nor_too_heavy() -> None:
    assert plan.slice_bytes(0) == plan.MIN_SLICE_BYTES
    assert plan.slice_bytes(16 * 20 * MB) == 20 * MB
    assert plan.slice_bytes(10**12) == plan.MAX_SLICE_BYTES


def test_ranges_begin_with_groups_and_groups_without_features_are_left_out() -> None:
    fids = np.array([12, 13, 25, 26, 27, 48], np.int64)
    sizes = np.array([5, 5, 6, 6, 6, 20], np.int64) * MB
    ranges = plan.plan([(fids, sizes)], [True], [(0, 10, 20, 30, 40, 50, 60)])
    assert [(each.fid_from, each.fid_to) for each in ranges] == [(48, 48), (25, 27), (12, 13)]
