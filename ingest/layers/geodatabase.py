"""The features of a file geodatabase, which only GDAL can read: their ids, and how large each is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingest.errors import FormatUnknown
from ingest.layers.gdal import restrict_pyogrio
from ingest.sources.address import printable

HEADS = (b"\x03\0\0\0", b"\x04\0\0\0")  # of a table; the latter with ids of 64 bits
BATCH_ROWS = 16  # few, for nobody knows yet how large they are


def features(path: Path, layer: str, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the id and the size in bytes of every feature, see `ingest.layers.discover.features`.

    Parameters
    ----------
    path, layer : Path, str
        The geodatabase, as it is lent to GDAL, and its layer.
    count : int
        Number of features that the layer states. GDAL leaves out those that it cannot read.

    Raises
    ------
    FormatUnknown
        When GDAL cannot read all of them.
    """
    import pyogrio.raw

    restrict_pyogrio()
    ids, sizes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    try:
        with pyogrio.raw.open_arrow(path, layer=layer, columns=[], return_fids=True, batch_size=BATCH_ROWS) as (
            meta,
            stream,
        ):
            for batch in pa.RecordBatchReader.from_stream(stream):
                geometry = batch.column(meta["geometry_name"] or "wkb_geometry")
                wkb = geometry.storage if isinstance(geometry, pa.ExtensionArray) else geometry
                ids.append(batch.column(0).to_numpy().astype(np.int64))
                sizes.append(pc.fill_null(pc.binary_length(wkb), 0).to_numpy(zero_copy_only=False).astype(np.int64))
    except (pa.ArrowException, RuntimeError, ValueError, OSError) as error:
        raise FormatUnknown(
            f"{layer} in {printable(path.name)} cannot be read: {error}.", "It is damaged; download it again."
        ) from error
    found = sum(map(len, ids))
    if found != count:
        raise FormatUnknown(
            f"{layer} in {printable(path.name)} states {count:,} features, of which {found:,} can be read.",
            "It is damaged; download it again.",
        )
    return np.concatenate(ids), np.concatenate(sizes)
