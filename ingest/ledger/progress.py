"""How far a run is, layer by layer: from the ledger's slices, for the terminal and the dashboard alike."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from ingest import __version__
from ingest.ledger.ledger import Ledger


@dataclass(frozen=True)
class Layer:
    """What has arrived of a layer.

    Attributes
    ----------
    name : str
        Its raw table.
    rows, rows_total : int
        Loaded, and counted in the file.
    bytes, bytes_total : int
        The same of bytes in the file.
    slices, slices_total : int
        The same of slices.
    running, failed : int
        Slices that a worker has, and that could not be loaded.
    seconds : float
        Since a worker began the first slice; until the last one ended where none is left.
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
        """Mean rate since the layer was begun; None before the first slice is in."""
        return self.bytes / 1e6 / self.seconds if self.bytes and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Time left at that rate; None where it is not known, 0 where nothing is left."""
        left = self.bytes_total - self.bytes
        rate = self.megabytes_per_second
        return 0.0 if not left else left / 1e6 / rate if rate else None


def now(ledger: Ledger) -> datetime:
    """Return the time by the ledger's clock, by which it notes signs of life."""
    with ledger.transaction() as connection:
        moment: datetime = connection.execute(sa.select(ledger.clock())).scalar_one()
    return moment


def layers(slices: Iterable[RowMapping], moment: datetime) -> list[Layer]:
    """Return the progress of every layer of a run, by name.

    Parameters
    ----------
    slices : iterable of row
        Of one run, from `ingest.ledger.Ledger.slices`.
    moment : datetime
        The present time, with its zone.
    """
    by_name: dict[str, list[RowMapping]] = {}
    for row in slices:
        by_name.setdefault(row["table_name"], []).append(row)
    return [_layer(name, by_name[name], moment) for name in sorted(by_name)]


def total(slices: Sequence[RowMapping], moment: datetime) -> Layer:
    """Return the progress of a run as a whole."""
    return _layer("total", slices, moment)


def _layer(name: str, rows: Sequence[RowMapping], moment: datetime) -> Layer:
    loaded = [row for row in rows if row["state"] == "loaded"]
    begun = [row["started_at"] for row in rows if row["started_at"]]
    is_over = all(row["state"] in ("loaded", "failed") for row in rows)
    end = max((row["finished_at"] for row in rows if row["finished_at"]), default=moment) if is_over else moment
    return Layer(
        name=name,
        rows=sum(row["rows_planned"] for row in loaded),
        rows_total=sum(row["rows_planned"] for row in rows),
        bytes=sum(row["bytes"] for row in loaded),
        bytes_total=sum(row["bytes"] for row in rows),
        slices=len(loaded),
        slices_total=len(rows),
        running=sum(row["state"] == "running" for row in rows),
        failed=sum(row["state"] == "failed" for row in rows),
        seconds=max((end - min(begun)).total_seconds(), 0.0) if begun else 0.0,
    )


def rate(layer: Layer) -> str:
    """Return a rate as people read it, empty where it is not known."""
    found = layer.megabytes_per_second
    return "" if found is None else f"{found:,.1f} MB/s"


def left(layer: Layer) -> str:
    """Return the time left as people read it, empty where it is not known or nothing is left."""
    found = layer.seconds_left
    return f"{duration(found)} left" if found else ""


def duration(seconds: float) -> str:
    """Return a span of time: ``0.4 s``, ``12 s``, ``3:05`` or ``1:02:03``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def line(run: RowMapping, slices: Sequence[RowMapping], moment: datetime) -> str:
    """Return one line on a run that is under way, for where there is no terminal."""
    whole = total(slices, moment)
    text = f"{run['dataset']}: {run['state']}, {whole.slices} of {whole.slices_total} slices"
    if slices:
        text += f", {whole.rows:,} of {whole.rows_total:,} rows"
        text += f", {whole.bytes / 1e6:,.0f} of {whole.bytes_total / 1e6:,.0f} MB"
    return ", ".join(part for part in (text, rate(whole), left(whole)) if part)


def summary(run: RowMapping, slices: Sequence[RowMapping], target: str) -> str:
    """Return one line that says what a run came to and on what: for an issue or a message.

    It names no path, host, user or address.
    """
    ended = run["finished_at"] or max((row["finished_at"] for row in slices if row["finished_at"]), default=None)
    begun = run["started_at"]
    seconds = (ended - begun).total_seconds() if begun and ended else 0.0
    loaded = [row for row in slices if row["state"] == "loaded"]
    megabytes = sum(row["bytes"] for row in loaded) / 1e6
    workers = {row["worker"] for row in loaded}
    parts = [
        f"{run['dataset']} {run['release']} {run['state']}",
        f"{sum(row['rows_loaded'] or 0 for row in loaded):,} rows",
        f"{megabytes:,.1f} MB",
        f"{len(loaded)} of {len(slices)} slices",
        f"{duration(seconds)} ({megabytes / seconds:,.1f} MB/s)" if seconds and megabytes else duration(seconds),
        f"{len(workers)} {'worker' if len(workers) == 1 else 'workers'}",
        f"{run['engine']} to {target}",
        f"ingest {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        f"run {run['run_id']}",
    ]
    return " | ".join(parts)
