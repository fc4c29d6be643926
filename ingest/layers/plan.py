"""Cut layers into slices of similar size. Pure: numbers in, slices out.

A slice is a range of features. The heaviest slices come first, so that all workers stay busy until the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_SLICE_BYTES = 8 << 20
MAX_SLICE_BYTES = 64 << 20
SLICES_WANTED = 16
HEAVY_BYTES = 16 << 20  # a heavier feature is a slice of its own, so that the batches of its neighbours stay small
BATCH_BYTES = 8 << 20  # of a batch, in addition to its heaviest feature, which has to fit in any case


@dataclass(frozen=True)
class FeatureRange:
    """A range of features of one layer, loaded by one task.

    Attributes
    ----------
    layer_no : int
        Index of the layer in the planned list.
    fid_from, fid_to : int
        First and last feature id, inclusive.
    row_count, bytes : int
        Number and total size of the features, according to the file.
    heaviest : int
        Bytes of the heaviest feature. Its batch cannot be smaller, so it determines the memory of a worker.
    """

    layer_no: int
    fid_from: int
    fid_to: int
    row_count: int
    bytes: int
    heaviest: int


def slice_bytes(total: int) -> int:
    """Return the target size of a slice: small enough for many workers, large enough to outweigh the cost of a task."""
    return max(MIN_SLICE_BYTES, min(MAX_SLICE_BYTES, total // SLICES_WANTED))


def plan(
    layers: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    divisible: Sequence[bool],
    starts: Sequence[Sequence[int]] = (),
) -> list[FeatureRange]:
    """Cut layers into feature ranges.

    Parameters
    ----------
    layers : sequence of (ids, bytes)
        Two int64 arrays of equal length per layer, ordered by id.
    divisible : sequence of bool
        Whether the layer's format allows reading a range of features.
    starts : sequence of sequence of int
        Ids with which ranges of each layer may begin, in ascending order; empty if it may be any.

    Returns
    -------
    list of FeatureRange
        Heaviest first. Every feature is in exactly one range; an empty layer has none.
    """
    target = slice_bytes(sum(int(sizes.sum()) for _, sizes in layers))
    ranges = []
    for layer_no, (fids, sizes) in enumerate(layers):
        if len(fids) == 0:
            continue
        if not divisible[layer_no]:
            cuts = [0]
        elif starts and starts[layer_no]:
            firsts = np.unique(np.searchsorted(fids, starts[layer_no]))
            firsts = firsts[firsts < len(fids)]
            cuts = firsts[_cuts(np.add.reduceat(sizes, firsts), target)].tolist()
        else:
            cuts = _cuts(sizes, target)
        for first, last in zip(cuts, [*cuts[1:], len(fids)], strict=True):
            part = sizes[first:last]
            ranges.append(
                FeatureRange(
                    layer_no=layer_no,
                    fid_from=int(fids[first]),
                    fid_to=int(fids[last - 1]),
                    row_count=last - first,
                    bytes=int(part.sum()),
                    heaviest=int(part.max()),
                )
            )
    return sorted(ranges, key=lambda item: (-item.bytes, item.layer_no, item.fid_from))


def _cuts(sizes: npt.NDArray[np.int64], target: int) -> list[int]:
    """Return where ranges begin: a range ends when it reaches the target size, and heavy features stay alone."""
    ends = np.cumsum(sizes)
    heavy = np.flatnonzero(sizes > HEAVY_BYTES)
    forced = np.unique(np.concatenate([heavy, heavy + 1, [len(sizes)]]))
    cuts, reached = [0], 0
    while True:
        full = int(np.searchsorted(ends, reached + target, side="left")) + 1
        following = min(full, int(forced[np.searchsorted(forced, cuts[-1], side="right")]))
        if following >= len(sizes):
            return cuts
        cuts.append(following)
        reached = int(ends[following - 1])
