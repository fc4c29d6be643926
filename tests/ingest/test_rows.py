"""Rows of the marts are read when they are asked for, in an order and with geometry that no target decides."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pyarrow as pa
import pytest
import shapely

from admin_boundaries.geometry import geometry_columns, marked
from admin_boundaries.rows import Rows, with_plain_geometry
from ingest.errors import UsageError

POINT = shapely.Point(1, 2)


def rows_of(table: pa.Table, *order: str) -> Rows:
    return Rows(lambda: with_plain_geometry(table.to_reader()), nullcontext, order)


def with_geometry(**columns: list[Any]) -> pa.Table:
    """Return a table with a point in each row, as PostGIS gives it: with the number of its reference system."""
    count = len(next(iter(columns.values())))
    wkb = pa.array([shapely.to_wkb(shapely.set_srid(POINT, 4326), include_srid=True)] * count, pa.binary())
    return pa.table(columns).append_column(marked("geom"), wkb)


def test_geometry_is_plain_wkb_and_known_as_geometry() -> None:
    table = rows_of(with_geometry(gid=["a"])).arrow()
    assert table["geom"].to_pylist() == [shapely.to_wkb(POINT)]
    assert geometry_columns(table.schema) == [1]
    assert pa.table(rows_of(with_geometry(gid=["a"])))["gid"].to_pylist() == ["a"]


def test_a_table_is_sorted_byte_by_byte_and_a_stream_is_not() -> None:
    rows = rows_of(with_geometry(admin_level=[1, 0, 1, 1], gid=["b", "z", "B", "ä"]), "admin_level", "gid", "absent")
    assert rows.arrow()["gid"].to_pylist() == ["z", "B", "b", "ä"]
    assert rows.reader().read_all()["gid"].to_pylist() == ["b", "z", "B", "ä"]


def test_a_frame_has_the_geometry_where_the_columns_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admin_boundaries.rows.SHORT_OFFSETS", 1)  # as if the table were large
    frame = rows_of(with_geometry(gid=["b", "a"]).append_column("n", pa.array([1, 2])), "gid").to_geopandas()
    assert frame.columns.tolist() == ["gid", "geom", "n"]
    assert (frame.crs.to_epsg(), frame["n"].tolist(), frame.geometry.tolist()) == (4326, [2, 1], [POINT, POINT])


def test_rows_without_geometry_become_no_geoframe() -> None:
    with pytest.raises(UsageError, match="no geometry in these rows"):
        rows_of(pa.table({"gid": ["a"]})).to_geopandas()
    assert rows_of(pa.table({"gid": ["a"]})).to_pandas()["gid"].tolist() == ["a"]


def test_rows_are_read_anew_each_time_and_not_before() -> None:
    reads: list[int] = []

    def read() -> pa.RecordBatchReader:
        reads.append(1)
        return pa.table({"gid": ["a"]}).to_reader()

    rows = Rows(read, nullcontext)
    assert reads == []
    rows.arrow()
    rows.arrow()
    assert len(reads) == 2
