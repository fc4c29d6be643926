"""Memory follows the batch: an engine reads no further than it is asked for, and gives no batch larger than planned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio.raw
import pytest
import shapely

from ingest import engines
from ingest.layers import discover
from tests.fixtures import boundaries
from tests.ingest.conftest import layers_of, slice_of

both_engines = pytest.mark.parametrize("engine", engines.ENGINES)
FEATURES = 256
READ_AHEAD = 4  # batches that an engine may have in hand beyond the one that it gives


@pytest.fixture
def source(tmp_path: Path) -> engines.SliceSource:
    """A layer of 256 features in batches of 4."""
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 2}, parts=4))
    return slice_of(layers_of(path)[2], batch_rows=4)


@pytest.fixture
def batches_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the rows of every batch that is read from the file."""
    read: list[int] = []
    open_arrow = pyogrio.raw.open_arrow

    @contextmanager
    def watched(*args: Any, **kwargs: Any) -> Iterator[tuple[dict[str, Any], pa.RecordBatchReader]]:
        with open_arrow(*args, **kwargs) as (meta, stream):
            reader = pa.RecordBatchReader.from_stream(stream)

            def batches() -> Iterator[pa.RecordBatch]:
                for batch in reader:
                    read.append(len(batch))
                    yield batch

            yield meta, pa.RecordBatchReader.from_batches(reader.schema, batches())

    monkeypatch.setattr(pyogrio.raw, "open_arrow", watched)
    return read


@both_engines
def test_no_batch_is_larger_than_planned(engine: str, source: engines.SliceSource) -> None:
    with engines.get(engine).read(source) as batches:
        sizes = [len(batch) for batch in batches]
    assert sum(sizes) == FEATURES
    assert max(sizes) <= source.batch_rows


@both_engines
def test_no_batch_weighs_more_than_planned_though_features_differ_a_thousandfold(engine: str, tmp_path: Path) -> None:
    made = boundaries.levels({"AAA": 2}, parts=4)
    boundaries.set_cell(made, 2, 99, "geometry", shapely.MultiPolygon([shapely.Point(1, 1).buffer(0.1, 10_000)]))
    layer = layers_of(boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made))[2]
    heaviest = int(discover.features(layer)[1].max())
    source = replace(slice_of(layer), batch_bytes=heaviest + 4096)
    with engines.get(engine).read(source) as batches:
        weights = [batch.column("geom").nbytes for batch in batches]
    assert heaviest < max(weights) <= source.batch_bytes + 8 * FEATURES
    assert 3 <= len(weights) < 32


@both_engines
def test_nothing_is_read_before_it_is_asked_for(
    engine: str, source: engines.SliceSource, batches_read: list[int]
) -> None:
    with engines.get(engine).read(source) as batches:
        assert len(batches_read) <= READ_AHEAD
        for given in range(1, 30):
            batches.read_next_batch()
            assert given <= len(batches_read) <= given + READ_AHEAD


@both_engines
def test_a_slice_that_is_given_up_is_read_no_further(
    engine: str, source: engines.SliceSource, batches_read: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    with engines.get(engine).read(source) as batches:
        for _ in range(29):
            batches.read_next_batch()
    assert sum(batches_read) < FEATURES
    assert "freed" not in capfd.readouterr().err  # GDAL's word when a file is read on after it was closed


@both_engines
@pytest.mark.slow
def test_slices_side_by_side_do_not_disturb_each_other(engine: str, source: engines.SliceSource) -> None:
    with engines.get(engine).read(source) as one, engines.get(engine).read(source) as other:
        for left, right in zip(one, other, strict=True):
            assert left.equals(right)
