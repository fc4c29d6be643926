"""The progress of runs, per layer, computed from the slices in the ledger. The terminal and the dashboard show it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ingest import __version__
from ingest.ledger.records import Run, Slice, SliceState


@dataclass(frozen=True)
class LayerProgress:
    """The progress of a layer.

    Attributes
    ----------
    name : str
        Name of its raw table.
    rows, rows_total : int
        Rows loaded, and rows in the file.
    bytes, bytes_total : int
        The same in bytes of the file.
    slices, slices_total : int
        The same in slices.
    running, failed : int
        Slices that a worker is loading, and slices that failed.
    seconds : float
        Seconds since the first slice was started; up to the end of the last one, once all have ended.
    """

    name: str
    rows: int
    rows_total: int
    bytes: int
    bytes_total: int
    slices: int
    slices_total: int
    running: int
    failed: int
    seconds: float

    @property
    def megabytes_per_second(self) -> float | None:
        """Mean rate since the first slice was started; None until a slice is loaded."""
        return self.bytes / 1e6 / self.seconds if self.bytes and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at that rate; 0 if nothing is left, None if the rate is unknown."""
        left = self.bytes_total - self.bytes
        rate = self.megabytes_per_second
        return 0.0 if not left else left / 1e6 / rate if rate else None


def layers(slices: Iterable[Slice], moment: datetime) -> list[LayerProgress]:
    """Return the progress of every layer of a run, sorted by name.

    Parameters
    ----------
    slices : iterable of Slice
        The slices of one run, see `ingest.ledger.Ledger.slices`.
    moment : datetime
        The current time, with a time zone.
    """
    by_name: dict[str, list[Slice]] = {}
    for part in slices:
        by_name.setdefault(part.table_name, []).append(part)
    return [_layer(name, by_name[name], moment) for name in sorted(by_name)]


def total(slices: Sequence[Slice], moment: datetime) -> LayerProgress:
    """Return the progress of a run as a whole."""
    return _layer("total", slices, moment)


def _layer(name: str, rows: Sequence[Slice], moment: datetime) -> LayerProgress:
    loaded = [part for part in rows if part.state == SliceState.LOADED]
    begun = [part.started_at for part in rows if part.started_at]
    is_over = all(part.state in (SliceState.LOADED, SliceState.FAILED) for part in rows)
    end = max((part.finished_at for part in rows if part.finished_at), default=moment) if is_over else moment
    return LayerProgress(
        name=name,
        rows=sum(part.rows_planned for part in loaded),
        rows_total=sum(part.rows_planned for part in rows),
        bytes=sum(part.bytes for part in loaded),
        bytes_total=sum(part.bytes for part in rows),
        slices=len(loaded),
        slices_total=len(rows),
        running=sum(part.state == SliceState.RUNNING for part in rows),
        failed=sum(part.state == SliceState.FAILED for part in rows),
        seconds=max((end - min(begun)).total_seconds(), 0.0) if begun else 0.0,
    )


def rate(layer: LayerProgress) -> str:
    """Return the rate as text; empty if it is unknown."""
    found = layer.megabytes_per_second
    return "" if found is None else f"{found:,.1f} MB/s"


def left(layer: LayerProgress) -> str:
    """Return the time left as text; empty if it is unknown or nothing is left."""
    found = layer.seconds_left
    return f"{duration(found)} left" if found else ""


def duration(seconds: float) -> str:
    """Return a duration as text: ``0.4 s``, ``12 s``, ``3:05`` or ``1:02:03``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def line(run: Run, slices: Sequence[Slice], moment: datetime) -> str:
    """Return the progress of a run in one line, for output without a terminal."""
    whole = total(slices, moment)
    text = f"{run.dataset}: {run.state}, {whole.slices} of {whole.slices_total} slices"
    if slices:
        text += f", {whole.rows:,} of {whole.rows_total:,} rows"
        text += f", {whole.bytes / 1e6:,.0f} of {whole.bytes_total / 1e6:,.0f} MB"
    return ", ".join(part for part in (text, rate(whole), left(whole)) if part)


def summary(run: Run, slices: Sequence[Slice], target: str) -> str:
    """Return the outcome of a run, and the platform that it ran on, in one line.

    It is made to be pasted into an issue, and contains no path, host, user or address.
    """
    ended = run.finished_at or max((part.finished_at for part in slices if part.finished_at), default=None)
    begun = run.started_at
    seconds = (ended - begun).total_seconds() if begun and ended else 0.0
    loaded = [part for part in slices if part.state == SliceState.LOADED]
    megabytes = sum(part.bytes for part in loaded) / 1e6
    workers = {part.worker for part in loaded}
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    parts = [
        f"{run.dataset} {run.release} {run.state}",
        f"{sum(part.rows_loaded or 0 for part in loaded):,} rows",
        f"{megabytes:,.1f} MB",
        f"{len(loaded)} of {len(slices)} slices",
        f"{duration(seconds)} ({megabytes / seconds:,.1f} MB/s)" if seconds and megabytes else duration(seconds),
        f"{len(workers)} {'worker' if len(workers) == 1 else 'workers'}",
        f"{run.engine} to {target}",
        f"ingest {run.ingest_version or __version__}, {machine}",
        f"run {run.run_id}",
    ]
    return " | ".join(parts)
