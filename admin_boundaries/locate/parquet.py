"""Write a Parquet file of which some texts are dictionaries in memory, as though they were texts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

WHOLE_DICTIONARY = 1 << 30  # bytes; of a column of a batch, which is in memory anyway


class TextWriter:
    """Writes batches, each as a group of rows; dictionaries are neither taken apart nor made again.

    Parameters
    ----------
    path : Path
        The file.
    schema : Schema
        Of the first columns, and of the file.
    fields : sequence of Field
        Of the columns that follow, as readers see them. Where they have a text, a batch may have a dictionary of texts,
        in every batch or in none.
    """

    def __init__(self, path: Path, schema: pa.Schema, fields: Sequence[pa.Field]) -> None:
        self._path, self._first = path, schema
        self._schema = pa.schema([*schema, *fields], schema.metadata)
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._writer is None and kind is None:
            self._open(self._schema)
        if self._writer is not None:
            self._writer.close()

    def write(self, columns: Sequence[pa.Array]) -> None:
        """Write the columns of a batch."""
        types = [column.type for column in columns]
        fields = [field.with_type(type_) for field, type_ in zip(self._schema, types, strict=True)]
        batch = pa.record_batch(columns, schema=pa.schema(fields, self._schema.metadata))
        writer = self._writer or self._open(batch.schema)
        writer.write_batch(batch, row_group_size=max(1, batch.num_rows))

    def _open(self, written: pa.Schema) -> pq.ParquetWriter:
        leaves = _leaves(written)
        self._writer = pq.ParquetWriter(
            self._path,
            written,
            compression="zstd",
            compression_level=1,
            # that no two degrees are alike takes long to find out
            use_dictionary=[leaf.path for leaf in leaves if leaf.physical_type not in {"FLOAT", "DOUBLE"}],
            dictionary_pagesize_limit=WHOLE_DICTIONARY,
            # of texts in no order, the first and the last tell nobody anything, and take half of the time
            write_statistics=[leaf.path for leaf in _leaves(self._first)],
            store_schema=False,
        )
        schema = base64.b64encode(self._schema.serialize().to_pybytes()).decode()
        self._writer.add_key_value_metadata({"ARROW:schema": schema})
        return self._writer


def _leaves(schema: pa.Schema) -> list[pq.ColumnSchema]:
    """Return the columns that Parquet makes of a schema."""
    file = pa.BufferOutputStream()
    pq.ParquetWriter(file, schema).close()
    leaves = pq.ParquetFile(pa.BufferReader(file.getvalue())).schema
    return [leaves.column(number) for number in range(len(leaves))]
