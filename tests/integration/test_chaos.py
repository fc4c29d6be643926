"""Loads and builds that are hit while they last end with the same tables, and readers see whole editions throughout.

``make chaos`` is the long version: random faults at random moments, and a disk that fills up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.chaos import faults, play
from tests.chaos.ground import TARGETS, Ground
from tests.chaos.readers import Readers
from tests.integration import servers

pytestmark = [pytest.mark.servers, pytest.mark.slow]

COPIES = 4
ATTEMPTS = 3
ROUNDS = {
    "workers": ("second load", "worker stopped", "publication killed", "migration killed", "prune beside"),
    "builds": ("build beside", "rollback beside", "build killed", "command killed", "clock ahead"),
    "processes": ("consumer killed", "clock behind", "planning killed", "retention killed", "Redis restarted"),
    "servers": ("PostgreSQL crashed", "worker killed", "init killed", "prune killed"),
}


@pytest.fixture(scope="module", params=TARGETS)
def game(request: pytest.FixtureRequest) -> Iterator[tuple[play.Game, Readers]]:
    with servers.open_folder() as folder:
        ground = Ground(folder, request.param, COPIES, has_disk=False)
        try:
            kinds = faults.kinds(request.param, has_disk=False)
            game = play.Game(ground, play.Report(request.param, 0, kinds), random.Random(request.param))
            game.prepare(is_scaled=False)
            with Readers(game.place()) as readers:
                yield game, readers
        finally:
            ground.close()


@pytest.mark.parametrize("dealt", ROUNDS)
def test_a_load_that_is_hit_ends_with_the_same_tables(dealt: str, game: tuple[play.Game, Readers]) -> None:
    hit, readers = game
    left = [kind for kind in ROUNDS[dealt] if kind in hit.report.kinds]
    for _ in range(ATTEMPTS):
        if left:
            struck = hit.play(left, readers)
            left = [kind for kind in left if not struck[kind]]
    assert left == []
    assert hit.report.faults_found == [], str(hit.report)


def test_a_last_load_and_build_leave_nothing_behind(game: tuple[play.Game, Readers]) -> None:
    hit, readers = game
    with readers.away():
        hit.check_after()
    assert hit.report.leftovers == []


def test_every_kind_of_fault_is_in_a_round_here_or_needs_a_disk_of_its_own() -> None:
    here = {kind for dealt in ROUNDS.values() for kind in dealt}
    assert here | set(faults.OF_DISKS) == set(faults.FAULTS)
