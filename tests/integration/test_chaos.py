"""Each fault once, in the middle of a load: what comes out is what comes out of a load that nothing happened to.

``make chaos`` is the long version, with random faults at random moments.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import chaos
from tests.integration import servers

pytestmark = [pytest.mark.servers, pytest.mark.slow]

COPIES = 4
Digests = dict[str, dict[str, tuple[int, str]]]


@dataclass(frozen=True)
class Quiet:
    """A round in which nothing happened: where, how long it took and what came out."""

    arena: chaos.Arena
    seconds: float
    tables: Digests


def tables(arena: chaos.Arena) -> Digests:
    """Build the marts and return digests of all that readers see."""
    arena.build()
    return {schema: arena.digest(schema) for schema in ("raw", "marts")}


@pytest.fixture(scope="module")
def quiet() -> Iterator[Quiet]:
    with servers.open_folder() as folder:
        arena = chaos.Arena(folder, COPIES)
        try:
            chaos.play(arena, [], 0, random.Random(0), chaos.Report())
            yield Quiet(arena, 3.0, tables(arena))
        finally:
            arena.close()


@pytest.mark.parametrize("fault", chaos.FAULTS)
def test_a_load_that_is_hit_ends_with_the_same_tables(fault: str, quiet: Quiet) -> None:
    report = chaos.Report()
    chaos.play(quiet.arena, [fault], quiet.seconds, random.Random(fault), report)
    assert report.faults == {fault: 1}
    assert (report.rows_lost, report.rows_doubled, report.runs_begun_anew) == (0, 0, 0)
    assert tables(quiet.arena) == quiet.tables
