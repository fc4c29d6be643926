"""Cut layers into slices of even weight. Pure: numbers in, slices out.

Slices are feature ranges, heaviest first, so that any number of workers stays busy to the end. Each says how many
rows a batch may have for the memory of a worker to follow the batch, never the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_SLICE_BYTES = 8 << 20
MAX_SLICE_BYTES = 64 << 20
SLICES_WANTED = 16
BATCH_BYTES = 8 << 20
MAX_BATCH_ROWS = 8192


@dataclass(frozen=True)
class FeatureRange:
    """Features of one layer that are loaded by one task.

    Attributes
    ----------
    layer_no : int
        Position of the layer in the list that was planned.
    fid_from, fid_to : int
        First and last feature id, both included.
    row_count, bytes : int
        What the range holds by the file's own account.
    batch_rows : int
        Rows of a batch, so that no batch outweighs ``BATCH_BYTES`` unless a single feature does.
    """

    layer_no: int
    fid_from: int
    fid_to: int
    row_count: int
    bytes: int
    batch_rows: int


def slice_bytes(total: int) -> int:
    """Return the weight to aim at: enough slices for many workers, none so light that its start-up shows."""
    return max(MIN_SLICE_BYTES, min(MAX_SLICE_BYTES, total // SLICES_WANTED))


def plan(
    layers: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]], divisible: Sequence[bool]
) -> list[FeatureRange]:
    """Cut layers into feature ranges.

    Parameters
    ----------
    layers : sequence of (ids, bytes)
        Two int64 arrays of one length per layer, ordered by id.
    divisible : sequence of bool
        Whether the layer's format can be read from the middle.

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
        cuts = _cuts(sizes, target) if divisible[layer_no] else [0]
        for first, last in zip(cuts, [*cuts[1:], len(fids)], strict=True):
            part = sizes[first:last]
            ranges.append(
                FeatureRange(
                    layer_no=layer_no,
                    fid_from=int(fids[first]),
                    fid_to=int(fids[last - 1]),
                    row_count=last - first,
                    bytes=int(part.sum()),
                    batch_rows=batch_rows(part),
                )
            )
    return sorted(ranges, key=lambda item: (-item.bytes, item.layer_no, item.fid_from))


def batch_rows(sizes: npt.NDArray[np.int64], limit: int = BATCH_BYTES) -> int:
    """Return the most rows, a power of two, of which no run of neighbours outweighs ``limit`` bytes; at least 1."""
    running = np.concatenate([[0], np.cumsum(sizes)])
    rows = 1
    while rows < MAX_BATCH_ROWS:
        wider = min(rows * 2, len(sizes))
        if wider <= rows or int((running[wider:] - running[:-wider]).max()) > limit:
            break
        rows *= 2
    return rows


def _cuts(sizes: npt.NDArray[np.int64], target: int) -> list[int]:
    """Return where ranges begin: a new one as soon as the one before has reached the target."""
    ends = np.cumsum(sizes)
    cuts, reached = [0], 0
    while True:
        following = int(np.searchsorted(ends, reached + target, side="left")) + 1
        if following >= len(sizes):
            return cuts
        cuts.append(following)
        reached = int(ends[following - 1])
