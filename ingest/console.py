"""Terminal output for people. Nothing else in `ingest` prints."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ingest.errors import IngestError, TargetUnavailable

if TYPE_CHECKING:  # importing the ledger is slow, and commands such as `locate` do without it
    from rich.progress import Progress, TaskID

    from ingest.ledger import Ledger, Run, Slice
    from ingest.setup.doctor import Check

POLL_SECONDS = 0.2
QUIET_SECONDS = 5.0  # watching stops after this long without a live consumer
OUTAGE_SECONDS = 60.0  # how long to wait for a database that restarts
LINE_SECONDS = 5.0  # how often progress is printed where there is no terminal

PROGRAM = "python -m ingest"  # what messages call the command line
WIDTH = 160  # minimum, so that run ids are never cut off; a narrow terminal wraps the line

out = Console(highlight=False, soft_wrap=True)
out.width = max(out.width, WIDTH)
err = Console(highlight=False, soft_wrap=True, stderr=True)
called = PROGRAM  # what the person who reads them has typed


def error(fault: IngestError) -> None:
    """Print the message and the hint of an error to standard error."""
    err.print(f"[bold red]error:[/] {_plain(fault.message)}")
    if fault.hint:
        err.print(_plain(fault.hint))


def warning(text: str) -> None:
    """Print a warning to standard error."""
    err.print(f"[bold yellow]warning:[/] {_plain(text)}")


def note(text: str) -> None:
    """Print a line to standard error, so that it is not taken for a result."""
    err.print(_plain(text))


def ask(before: str) -> str:
    """Return a line that a person types, with what is typed before it kept for the arrow keys.

    Raises
    ------
    EOFError
        At the end of the input.
    """
    import readline  # noqa: F401  input uses it once it is imported

    return input(before)


def say(text: str) -> None:
    """Print a line to standard output."""
    out.print(_plain(text))


def pass_on(file: Path) -> None:
    """Copy a file to standard output, as far as somebody reads it."""
    try:
        with file.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # as in `… | head`; what Python still flushes at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def watch(ledger: Ledger, run_ids: Sequence[str], is_alive: Callable[[], bool]) -> None:
    """Show a progress bar per layer until all runs have ended; without a terminal, print a line every few seconds.

    Parameters
    ----------
    ledger : Ledger
        Ledger that holds the runs.
    run_ids : sequence of str
        The runs to watch.
    is_alive : callable
        Returns whether any worker is alive. Watching stops when none has been for `QUIET_SECONDS`.

    Raises
    ------
    TargetUnavailable
        When the database does not answer for `OUTAGE_SECONDS`.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from ingest.ledger import progress

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        TextColumn("{task.fields[rows]}", justify="right"),
        TextColumn("{task.fields[rate]}", justify="right"),
        TextColumn("{task.fields[left]}", justify="right"),
        TimeElapsedColumn(),
    )
    bars: dict[tuple[str, str], TaskID] = {}
    with Progress(*columns, console=err, disable=not err.is_terminal) as shown:
        printed_at = answered_at = alive_at = time.monotonic()
        while True:
            try:
                runs = [ledger.run(run_id) for run_id in run_ids]
                slices = {run_id: ledger.slices(run_id) for run_id in run_ids}
                answered_at = time.monotonic()
                alive_at = answered_at if is_alive() else alive_at
            except TargetUnavailable:
                if time.monotonic() - answered_at > OUTAGE_SECONDS:
                    raise
                alive_at = time.monotonic()  # workers cannot send heartbeats during an outage
                time.sleep(POLL_SECONDS)
                continue
            is_time = not err.is_terminal and time.monotonic() - printed_at > LINE_SECONDS
            for run in runs:
                _show(shown, bars, run, slices[run.run_id])
                if is_time:
                    err.print(progress.line(run, slices[run.run_id], datetime.now(UTC)))
            if is_time:
                printed_at = time.monotonic()
            if all(run.state.has_ended for run in runs) or answered_at - alive_at > QUIET_SECONDS:
                return
            time.sleep(POLL_SECONDS)


def _show(shown: Progress, bars: dict[tuple[str, str], TaskID], run: Run, rows: Sequence[Slice]) -> None:
    """Update the progress bars of a run: one for its files until the run is planned, then one per layer."""
    from ingest.ledger import progress

    run_id = run.run_id
    if not rows:
        key = (run_id, "")
        name = f"{run.dataset}: {run.state}"
        if key not in bars:
            bars[key] = shown.add_task(name, total=None, rows="", rate="", left="")
        shown.update(bars[key], description=name)
        return
    if (run_id, "") in bars:
        shown.remove_task(bars.pop((run_id, "")))
    for layer in progress.layers(rows, datetime.now(UTC)):
        key = (run_id, layer.name)
        if key not in bars:
            bars[key] = shown.add_task(layer.name, total=layer.bytes_total, rows="", rate="", left="")
        shown.update(
            bars[key],
            completed=layer.bytes,
            rows=f"{layer.rows:,}/{layer.rows_total:,} rows",
            rate=progress.rate(layer),
            left=progress.left(layer),
        )


def published(ledger: Ledger) -> str:
    """Return a sentence for each dataset: which release readers see, and when it was published."""
    from ingest import catalog

    found = [ledger.published_run(name) for name in catalog.datasets()]
    lines = [
        f"**{run.dataset}**: release {run.release}, {run.rows_loaded:,} rows, "
        f"published {run.published_at:%Y-%m-%d %H:%M} UTC."
        for run in found
        if run
    ]
    return " ".join(lines) or "Nothing is loaded yet."


def datasets(loaded: Mapping[str, str | None]) -> None:
    """Print the datasets of the catalog, as wide as the terminal is.

    Parameters
    ----------
    loaded : mapping of str to (str or None)
        What is loaded of a dataset, by its name; without the name, it is not known.
    """
    from ingest import catalog

    table = Table(box=None, pad_edge=False, show_header=False)
    for width, overflow in ((13, "fold"), (11, "fold"), (None, "fold")):
        table.add_column(min_width=width, overflow=overflow)  # type: ignore[arg-type]
    for name, dataset in catalog.datasets().items():
        default, *others = dataset.named_releases
        if dataset.latest and dataset.latest.is_default:
            default = f"the newest, such as {default}"
        releases = f"{default} (default){' and others like it' if dataset.has_further_releases else ''}"
        levels = dataset.levels
        lines = {
            "title": dataset.title,
            "licence": dataset.licence,
            "attribution": dataset.attribution,
            "releases": ", ".join([releases, *others]),
            "levels": f"{levels[0]}-{levels[-1]}" if levels else "none",
            "loaded": (loaded[name] or "nothing") if name in loaded else "not known",
        }
        for number, (what, text) in enumerate(lines.items()):
            table.add_row("" if number else f"[bold]{name}[/]", what, _plain(text))
        table.add_row()
    out.print(table, soft_wrap=False, width=min(shutil.get_terminal_size().columns, WIDTH))


def summary(ledger: Ledger, run: Run, target: str) -> None:
    """Print the outcome of a run in one line, made to be pasted into an issue."""
    from ingest.ledger import progress

    say(progress.summary(run, ledger.slices(run.run_id), target))


def counts(ledger: Ledger, runs: Sequence[Run]) -> None:
    """Print the rows of every raw table of the given runs."""
    from ingest import catalog

    table = Table("dataset", "release", "table", box=None, pad_edge=False)
    for name in ("rows", "slices", "MB"):
        table.add_column(name, justify="right")
    for run in runs:
        rows = ledger.slices(run.run_id)
        for raw in catalog.get(run.dataset).tables:
            mine = [row for row in rows if row.table_name == raw.name]
            table.add_row(
                run.dataset,
                run.release,
                raw.name,
                str(sum(row.rows_loaded or 0 for row in mine)),
                str(len(mine)),
                _megabytes(sum(row.bytes for row in mine)),
            )
    out.print(table)


def runs(rows: Sequence[Run]) -> None:
    """Print a list of runs."""
    table = Table("run", "dataset", "release", "engine", "state", "started", box=None, pad_edge=False)
    for name in ("seconds", "rows", "MB"):
        table.add_column(name, justify="right")
    for name in ("scope", "source"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            row.run_id,
            row.dataset,
            row.release,
            row.engine,
            row.state,
            _time(row.started_at),
            _seconds(row),
            _number(row.rows_loaded if row.rows_loaded is not None else row.rows_read),
            _megabytes(row.bytes_read),
            _plain(row.extent),
            _plain(row.files_in_short),
        )
    out.print(table)


def run(ledger: Ledger, found: Run, target: str) -> None:
    """Print a run with its files and slices, and its summary."""
    say(f"run {found.run_id}: {found.dataset} {found.release} by {found.engine}, {found.state}")
    say(f"scope: {found.extent}")
    if found.error:
        say(f"error: {found.error}")
    if found.base_run_id:
        say(f"added to run {found.base_run_id}: {found.countries or 'its countries are not known yet'}")
    for file in ledger.files(found.run_id):
        cached = ", from the cache" if file.was_cached else ""
        cached += f", carried over from run {file.carried_from}" if file.carried_from else ""
        say(f"file {file.file_no}: {file.source}, {file.state}{cached}, {_megabytes(file.bytes)} MB, by {file.worker}")
    table = Table("slice", "table", "source", "state", box=None, pad_edge=False)
    for name in ("rows", "MB", "seconds", "attempts"):
        table.add_column(name, justify="right")
    table.add_column("worker")
    for item in ledger.slices(found.run_id):
        table.add_row(
            str(item.slice_no),
            item.table_name,
            f"{item.source_file} {item.fid_from}–{item.fid_to}" + (", carried over" if item.carried_from else ""),
            item.state,
            _number(item.rows_loaded if item.rows_loaded is not None else item.rows_planned),
            _megabytes(item.bytes),
            _seconds(item),
            str(item.attempts),
            item.worker or "",
        )
    out.print(table)
    summary(ledger, found, target)


@contextmanager
def points_bar() -> Iterator[Callable[[int, float], None]]:
    """Show a progress bar while points are located; without a terminal, show nothing.

    Yields
    ------
    callable
        Called with the number of rows that are done, and their share of the file.
    """
    with share_bar("{task.fields[rows]:,} rows") as show:
        yield lambda done, share: show(share, rows=done)


@contextmanager
def share_bar(*texts: str) -> Iterator[Callable[..., None]]:
    """Show a progress bar, with texts beside it; without a terminal, show nothing.

    Yields
    ------
    callable
        Called with the share that is done, 0 to 1, and the fields of the texts.
    """
    if not err.is_terminal:
        yield lambda *_, **_fields: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), *map(TextColumn, texts), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=1.0, rows=0)
        yield lambda share, **fields: bar.update(task, completed=share, **fields)


def location(
    found: Mapping[str, Any], no_unit: str, clock: Mapping[str, Any] | None = None, nearest: str | None = None
) -> None:
    """Print what lies at a point: the units from the country down, then the time zones.

    Parameters
    ----------
    found : mapping
        The answer of `locate`, by column.
    no_unit : str
        Where the point may be if it lies in no unit.
    clock : mapping, optional
        What clocks show there, if that was asked, by column.
    nearest : str, optional
        Which unit is nearest, if that was asked and there is none at the point.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    names = (found["path"] or "").split(" > ")
    keys = [found[f"gid_{level}"] for level in range(6) if found[f"gid_{level}"]]
    for key, name in zip(keys, names, strict=False):
        table.add_row(key, _plain(name))
    if found["status"] == "no unit":
        table.add_row("no unit", no_unit)
    if nearest is not None:
        table.add_row("nearest", _plain(nearest))
    if found["status"] == "several units":
        table.add_row("several units", "on a border, or units overlap: " + ", ".join(found["gids"]))
    table.add_row("time zone", ", ".join(found["tzids"] or ["none"]))
    if clock is not None:
        table.add_row("local time", _plain(_clock(clock)))
    out.print(table)


def _clock(clock: Mapping[str, Any]) -> str:
    """Return what clocks show, for people."""
    if clock["local_time"] is None:
        return {
            "out of range": "unknown: known from 1970 to ten years ahead",
            "no zone": "unknown: no zone with known clocks lies here",
        }[clock["time_status"]]
    summer = ", daylight saving time" if clock["is_dst"] else ""
    note = {
        "ambiguous": "; clocks are put back and show this twice: this is the first time",
        "missing": "; clocks are put forward and never show what was given",
        "uncertain": "; not everywhere: this zone merges places whose clocks differed then, see --variant all",
    }.get(clock["time_status"], "")
    utc = clock["utc_time"].isoformat().replace("+00:00", "Z")
    return f"{clock['local_time'].isoformat(' ')} {clock['utc_offset']} ({clock['abbreviation']}{summer}), {utc}{note}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text."""
    shown = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*map(_plain, row))
    out.print(shown)


def hint_at_more(limit: int, largest: int) -> None:
    """Print how to see more results than ``limit``, which can be raised to ``largest``."""
    more = min(2 * limit, largest)
    say(f"… and more. {f'Use --limit {more} to see them.' if more > limit else 'Give a longer name.'}")


def check(found: Check) -> None:
    """Print the result of one check of the doctor, and the fix if it failed."""
    mark = "[green]ok[/]     " if found.is_good else "[red]missing[/]" if found.is_needed else "[yellow]warning[/]"
    out.print(f"{mark} {_plain(found.what)}: {_plain(found.detail)}")
    if not found.is_good:
        out.print(f"        {_plain(found.fix)}")


def as_called(text: str) -> str:
    """Return a text that names the command line as the person who reads it has called it."""
    return text.replace(PROGRAM, called)


def _plain(text: str) -> str:
    return as_called(text).replace("[", "\\[")


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:.1f}"


def _time(value: datetime | None) -> str:
    return "" if value is None else f"{value.astimezone():%Y-%m-%d %H:%M:%S}"


def _seconds(work: Run | Slice) -> str:
    if not work.started_at or not work.finished_at:
        return ""
    return f"{(work.finished_at - work.started_at).total_seconds():.1f}"
