"""What a power failure, a program or a person has damaged in a warehouse: found, and restored where it is derived.

The rows of the published runs and the ledger are all that cannot be derived. Links, views, the queue, the copy of the
ledger for dbt, downloads and unpacked archives can.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from ingest import catalog, sinks
from ingest.errors import FileUnusable, IngestError, TargetUnavailable
from ingest.ledger import Ledger
from ingest.pipeline import publication
from ingest.settings import MOUNT, Settings, lost_link
from ingest.setup.doctor import Check
from ingest.sources import copies, seal

DRAFT = re.compile(r"(?:\..+|secret|draft-[0-9a-f]{32}|[0-9a-f]{16}-\d+(?:\.old)?)\.(\d+)")
DROPPED = ".dropped-"
OLD_SECONDS = 600.0  # containers that share a folder do not see each other's processes
USABLE = "Make its folder writable, and its disk, then run the command again."
REPAIR = "Run `python -m ingest doctor --repair`."


def examine(settings: Settings, *, is_repaired: bool = False) -> Iterator[Check]:
    """Look for damage of everything that a load has made.

    Parameters
    ----------
    settings : Settings
        Of the target.
    is_repaired : bool
        Whether to restore what can be derived; otherwise nothing is changed.

    Yields
    ------
    Check
        What was repaired passes, and says so.
    """
    if settings.postgres is None:
        if not settings.home.is_dir():
            return
        yield _queue(settings.home / "queue.sqlite", is_repaired=is_repaired)
    yield _copies(settings.home, is_repaired=is_repaired)
    yield _drafts(settings, is_repaired=is_repaired)
    if settings.postgres is None and (lost := lost_link(settings.lake)):
        yield Check("folder of the published tables", False, lost, MOUNT)
        return  # nothing is damaged that is only out of reach
    try:
        yield from _ledger(settings, is_repaired=is_repaired)
    except TargetUnavailable as fault:
        if settings.postgres is None:  # whether a server answers is another check
            yield Check("ledger", False, fault.message, fault.hint)
    except FileUnusable as fault:
        yield Check("published tables", False, fault.message, fault.hint)
    except IngestError as fault:
        yield Check("ledger", False, fault.message, fault.hint)
    except OSError as fault:
        file, reason = fault.filename or settings.lake, fault.strerror or fault
        yield Check("published tables", False, f"{file} cannot be used: {reason}", USABLE)


def _ledger(settings: Settings, *, is_repaired: bool) -> Iterator[Check]:
    ledger = Ledger(settings)
    ledger.check_is_there()
    if not ledger.exists():
        return
    ledger.check("integrity_check")
    if not ledger.is_current():
        yield Check("ledger", True, "of an older version; the next command upgrades it")
        return
    yield Check("ledger", True, ledger.place)
    sink = sinks.get(settings)
    told: list[str] = []
    fault = sink.fault_of_ledger()
    if is_repaired:
        publication.restore(ledger, sink, told.append)
    if fault:
        fault += " It is written again." * is_repaired
        yield Check("copy of the ledger for dbt", is_repaired, fault, REPAIR)
    for name in catalog.datasets():
        found = publication.damage(ledger, sink, name)
        lost = any(not each.is_derived for each in found)
        done = [text for text in told if text.startswith(f"{name}: ")] if not found else []
        whole = "whole" if ledger.published_run(name) else "nothing"
        yield Check(
            f"published {name}",
            not found,
            " ".join(each.text for each in found) or " ".join(done) or whole,
            f"Load it again: python -m ingest {name}, with the options of its run" if lost else REPAIR,
        )
        for run, tables in publication.damaged_earlier(ledger, sink, name):
            yield Check(
                f"earlier {name}",
                False,
                f"run {run.run_id} has lost rows of {', '.join(tables)}: no rollback can return to it",
                "It goes with the next publications.",
                is_needed=False,
            )


def _queue(file: Path, *, is_repaired: bool) -> Check:
    """Check the queue. It is derived: consumers send the messages again that it should hold."""
    if not os.path.lexists(file):
        return Check("queue", True, "none yet")
    fault = _fault_of_sqlite(file)
    if fault and is_repaired:
        for suffix in ("", "-wal", "-shm", "-journal"):
            seal.remove(Path(f"{file}{suffix}"))
        return Check("queue", True, f"{file} was damaged: {fault}. It is removed; restart consumers that are running.")
    return Check("queue", not fault, f"{file} is damaged: {fault}." if fault else str(file), REPAIR)


def _fault_of_sqlite(file: Path) -> str:
    if not file.is_file():
        return "it is no file"
    try:
        with closing(sqlite3.connect(file, timeout=5)) as connection:
            (found,) = connection.execute("pragma integrity_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        return "" if "locked" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else str(found).splitlines()[-1]


def _copies(home: Path, *, is_repaired: bool) -> Check:
    """Check downloads and unpacked archives. The next load makes again what is damaged or was removed."""
    damaged: list[str] = []
    unfinished: list[str] = []
    count = 0
    for copy in copies.find(home):
        count += 1
        with copies.held(copy.path) as is_mine:
            if not is_mine or not copy.key or copy.is_intact():
                continue
            (damaged if copy.is_sealed else unfinished).append(str(copy.path))
            if is_repaired:
                copies.remove(copy.path)
    what, done = "downloads and unpacked archives", " Removed; the next load makes them again." * is_repaired
    if damaged:
        text = f"changed since they were made: {', '.join(damaged)}.{done}"
        return Check(what, is_repaired, text, f"The next load makes them again. {REPAIR}")
    if unfinished:
        text = f"not completed: {', '.join(unfinished)}.{done}"
        return Check(what, is_repaired, text, f"The next load makes them again. {REPAIR}", is_needed=False)
    return Check(what, True, f"{count}, as they were made")


def _drafts(settings: Settings, *, is_repaired: bool) -> Check:
    """Look for unfinished files of processes that have died."""
    found = list(drafts(settings))
    text = f"{len(found)} with {sum(map(seal.size, found)):,} bytes, such as {found[0]}" if found else "none"
    if found and is_repaired:
        for path in found:
            with suppress(FileNotFoundError):
                seal.remove(path)
        text += ". They are removed."
    what = "unfinished files of dead processes"
    return Check(what, is_repaired or not found, text, f"They take space only. {REPAIR}", is_needed=False)


def drafts(settings: Settings) -> Iterator[Path]:
    """Yield the files and folders that processes began, and died before they were complete."""
    home = settings.home
    places = [home, home / "unpacked"]
    for pattern in ("downloads/*/", "raw/*/", "raw/*/runs/", "raw/*/runs/*/", "raw/*/runs/*/*/"):
        places += sorted(home.glob(pattern))
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() and not place.is_symlink() else ():
            match = DRAFT.fullmatch(path.name)
            if path.name.startswith(DROPPED) or (match and _is_left(path, int(match[1]), settings)):
                yield path


def _is_left(path: Path, process: int, settings: Settings) -> bool:
    """Return whether no process is writing a file any more."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        is_old = time.time() - seal.newest(path) > OLD_SECONDS
        return is_old or settings.postgres is None
    except OSError:
        return False
    return False
