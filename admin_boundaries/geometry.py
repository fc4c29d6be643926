"""Which columns of an Arrow table are geometry, and the shapes in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import shapely

EXTENSION = b"ARROW:extension:name"
WKB = "geoarrow.wkb"
CRS = "EPSG:4326"  # with longitude first, as everywhere in GeoPandas and GeoArrow
MARKED = {
    EXTENSION: WKB,
    b"ARROW:extension:metadata": f'{{"crs": "{CRS}", "crs_type": "authority_code"}}',
}


def marked(name: str) -> pa.Field:
    """Return the field of a column of WKB, marked as ``geoarrow.wkb``."""
    return pa.field(name, pa.binary(), metadata=MARKED)


def geometry_columns(schema: pa.Schema) -> list[int]:
    """Return the numbers of the columns that are geometry."""
    # a process that knows the type has it as such, and others have it in the metadata of the field
    names = [
        getattr(field.type, "extension_name", (field.metadata or {}).get(EXTENSION, b"").decode()) for field in schema
    ]
    return [at for at, name in enumerate(names) if name == WKB]


def shapes(column: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Return a column of WKB as shapes."""
    storage = column.cast(column.type.storage_type) if isinstance(column.type, pa.BaseExtensionType) else column
    found: np.ndarray[Any, Any] = shapely.from_wkb(storage.to_numpy(zero_copy_only=False))
    return found
