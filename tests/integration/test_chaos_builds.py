"""A publication, a rollback and a kill while ``dbt build`` runs: readers see whole editions, before, during and after.

``make chaos`` is the long version, with random faults at random moments of whole and partial builds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import chaos_builds
from tests.chaos_readers import Readers
from tests.integration import servers

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@dataclass(frozen=True)
class Quiet:
    """Two editions, and the marts that are built of each when nothing happens."""

    yard: chaos_builds.Yard
    marts: dict[str, chaos_builds.Digest]


@pytest.fixture(scope="module", params=chaos_builds.TARGETS)
def quiet(request: pytest.FixtureRequest) -> Iterator[Quiet]:
    with servers.open_folder() as folder:
        yard = chaos_builds.Yard(folder, request.param)
        try:
            yield Quiet(yard, yard.prepare())
        finally:
            yard.close()


# a rollback that begins with the staging models is done before those that read them are all made
@pytest.mark.parametrize(("fault", "moment"), [("publication", -0.3), ("rollback", 0.25), ("kill", 0.6)])
def test_readers_see_whole_editions_while_a_build_is_hit(fault: str, moment: float, quiet: Quiet) -> None:
    report = chaos_builds.Report()
    with Readers(quiet.yard.place()) as readers:
        chaos_builds.play(quiet.yard, (), [fault], [moment], random.Random(fault), report)
        has_changed = chaos_builds.differs(quiet.yard, quiet.marts, is_last=False)
    chaos_builds.add_told(report, readers.told(), quiet.yard.mark_of)
    assert report.faults == {fault: 1}
    assert report.told.reads > 0
    assert report.complaints == []
    assert not has_changed


def test_a_last_build_is_of_the_published_run_and_leaves_nothing_behind(quiet: Quiet) -> None:
    report = chaos_builds.Report()
    chaos_builds.check_after(quiet.yard, report)
    assert report.complaints == []
    assert not chaos_builds.differs(quiet.yard, quiet.marts, is_last=True)
