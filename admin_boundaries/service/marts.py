"""The marts as a service reads them: open for many questions at once, each of which one build answers.

A build that is published answers the next question. What is the same for all answers of a build, such as what marts
there are and what may be done with them, is read once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from admin_boundaries import edition, licences
from admin_boundaries.edition import Edition
from admin_boundaries.locate.index import folder_of
from admin_boundaries.marts import Mart
from admin_boundaries.warehouse import Warehouse, known_marts
from ingest.errors import IngestError, MartsReplaced, QuestionTooLong, ServiceBusy, UsageError
from ingest.settings import Settings

if TYPE_CHECKING:  # numba takes a second to import
    from admin_boundaries.locate.locator import Locator

TRIES = 3
MOST_LEARNED = 1 << 18  # sets of units that the index may keep, some 65 MB; then it is opened anew
UNKNOWN_BUILD = "unknown"
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What questions may take.

    Attributes
    ----------
    seconds : int
        The longest time of a question on DuckDB, and of each of its statements on PostgreSQL.
    at_once : int
        How many questions are answered at once; others wait.
    wait : float
        For how many seconds they do.
    """

    seconds: int = 20
    at_once: int = 8
    wait: float = 10.0


@dataclass(frozen=True)
class Build:
    """The build that an answer is of.

    Attributes
    ----------
    id : str
        dbt's invocation id; ``unknown`` if the marts do not say.
    built_at : datetime or None
        When it began.
    releases : mapping of str to str
        Of each dataset.
    stale : tuple of str
        A sentence for each dataset of which another run is published by now.
    """

    id: str
    built_at: datetime | None
    releases: Mapping[str, str]
    stale: tuple[str, ...]

    @classmethod
    def of(cls, editions: list[Edition]) -> Build:
        """Return the build of editions of datasets."""
        first = next((each for each in editions if each.build_id), None)
        return cls(
            first.build_id or UNKNOWN_BUILD if first else UNKNOWN_BUILD,
            first.built_at if first else None,
            {each.dataset: each.run.release for each in editions if each.run},
            tuple(edition.faults(editions)),
        )

    @property
    def is_known(self) -> bool:
        """Whether the marts say which build they are of."""
        return self.id != UNKNOWN_BUILD

    @cached_property
    def tag(self) -> str:
        """The same for answers that are the same: of a build, and of what is published."""
        return sha256("\n".join([self.id, *self.stale]).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Asked:
    """Whom a question is put to.

    Attributes
    ----------
    warehouse : Warehouse
        The marts.
    build : Build
        Which build they are of.
    """

    warehouse: Warehouse
    build: Build
    _of_datasets: licences.OfDatasets
    _index: Path
    _kept: dict[str, Any] = field(repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what is the same for all questions to a build; it is made for the first that needs it."""
        if name not in self._kept:
            self._kept[name] = make()
        kept: T = self._kept[name]
        return kept

    @property
    def locator(self) -> Locator | None:
        """The index of this build, which answers like the marts and sooner; None where it has not been made."""
        kept: Locator | None = self._kept.get("locator")
        if self.build.is_known and (kept is None or kept.learned > MOST_LEARNED) and self._index.is_dir():
            from admin_boundaries.locate.locator import Locator

            with suppress(MartsReplaced):  # the next build's has just taken its place
                kept = self._kept["locator"] = Locator(self._index)
        return kept

    @property
    def known(self) -> Mapping[str, Mart]:
        """All marts by name."""
        return self.once("known", lambda: known_marts(self.warehouse))

    @property
    def rights(self) -> list[licences.Rights]:
        """What may be done with what the service tells, and whom to name."""

        def read() -> list[licences.Rights]:
            told = [mart for name, mart in self.known.items() if name.startswith("admin_level_") or name == "timezones"]
            of_levels = [mart for mart in told if mart.has_geometry]
            return licences.of_marts(self.warehouse, self.known, of_levels, self._of_datasets)

        return self.once("rights", read)

    @property
    def credit(self) -> dict[str, str]:
        """The same as texts: ``licence``, ``attribution`` and ``source_name``."""
        return self.once("credit", lambda: licences.texts(self.rights))


class Source(Protocol):
    """Opens the marts of a target.

    Attributes
    ----------
    is_of_one_build : bool
        Whether what is open stays of one build.
    """

    is_of_one_build: bool

    def opened(self) -> AbstractContextManager[Warehouse]:
        """Open them for a question."""
        ...

    def close(self) -> None:
        """Close what is kept open."""
        ...


class Marts:
    """The marts of a dataset, for many questions at once.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset. Nothing is opened before the first question.
    of_datasets : mapping of str to (str, str, str)
        Licence, attribution and source name of whole datasets, as of time zones.
    limits : Limits
        What questions may take.

    Raises
    ------
    UsageError
        When the target is Spark.
    """

    def __init__(self, settings: Settings, of_datasets: licences.OfDatasets, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._settings, self._source = settings, _source(settings, self._limits)
        self._of_datasets = of_datasets
        self._slots = threading.BoundedSemaphore(self._limits.at_once)
        self._kept: tuple[str, dict[str, Any]] = ("", {})

    def ask(self, question: Callable[[Asked], T]) -> T:
        """Return the answer to a question, all of it from one build.

        Raises
        ------
        MartsMissing, TargetUnavailable
            When there are no marts, or no server.
        MartsReplaced
            When builds replaced the marts again and again.
        QuestionTooLong
            When it took more time than it may.
        ServiceBusy
            When too many others are being answered.
        """
        if not self._slots.acquire(timeout=self._limits.wait):
            raise ServiceBusy(f"{self._limits.at_once} questions are being answered.", "Ask again in a moment.")
        try:
            for _ in range(TRIES):
                with self._source.opened() as warehouse:
                    build = Build.of(warehouse.editions())
                    index = folder_of(self._settings, [build.id])
                    try:
                        answer = question(Asked(warehouse, build, self._of_datasets, index, self._memory(build)))
                    except IngestError:
                        if self._is_still(build, warehouse):
                            raise
                        continue
                    if self._is_still(build, warehouse):
                        return answer
        finally:
            self._slots.release()
        raise MartsReplaced("Builds replaced the marts while they were read.", "Ask again in a moment.")

    def close(self) -> None:
        """Close what is kept open; the next question opens it again."""
        self._source.close()

    def _is_still(self, build: Build, warehouse: Warehouse) -> bool:
        return self._source.is_of_one_build or Build.of(warehouse.editions()).id == build.id

    def _memory(self, build: Build) -> dict[str, Any]:
        if not build.is_known:
            return {}
        if self._kept[0] != build.id:
            self._kept = (build.id, {})
        return self._kept[1]


def _source(settings: Settings, limits: Limits) -> Source:
    if settings.spark:
        raise UsageError(
            "Marts on Spark cannot be served.", "Build with WAREHOUSE_TARGET=embedded or postgres, and serve those."
        )
    if settings.postgres:
        from admin_boundaries.service.postgres_source import PostgresSource

        return PostgresSource(settings.postgres, settings.boundaries, limits.seconds)
    from admin_boundaries.service.duckdb_source import DuckdbSource

    return DuckdbSource(settings.warehouse, settings.lake, settings.boundaries, limits.seconds)


@contextmanager
def too_long(seconds: int, is_over: Callable[[BaseException], bool]) -> Iterator[None]:
    """Say of an error that time was up, if it was.

    Parameters
    ----------
    seconds : int
        How long a question may take.
    is_over : callable
        Tells whether an error is due to that.
    """
    try:
        yield
    except Exception as error:
        if is_over(error):
            raise QuestionTooLong(
                f"This took longer than {seconds} second{'s' if seconds != 1 else ''}.",
                "Ask for less: fewer rows, a smaller box, a lower limit.",
            ) from error
        raise
