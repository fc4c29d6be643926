"""What is printed for people, and how long a command looks on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from admin_boundaries import warehouse
from admin_boundaries.edition import Edition
from admin_boundaries.find import Name
from admin_boundaries.locate import COLUMNS
from ingest import console
from ingest.errors import IngestError, TargetUnavailable
from ingest.ledger import Ledger, Request, Run, RunState, Slice
from ingest.setup.doctor import Check
from tests.ingest.conftest import claimed_slice, note_loaded, planned_slice
from tests.ingest.test_cli import run as run_command

MakeRequest = Callable[..., Request]
NOWHERE = dict.fromkeys(COLUMNS)
CURRENT = Edition("gadm", None, None, None, None)


def printed_location(capsys: pytest.CaptureFixture[str], **answer: object) -> list[str]:
    """Return the lines that are printed of an answer, blanks made one."""
    console.location({**NOWHERE, **answer}, "at sea")
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_point_is_told_with_its_units_from_the_country_down(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"gid_0": "AAA", "gid_1": "AAA.1_1", "gid_2": "AAA.1.2_1"}
    zones = ["Africa/Lome", "Etc/GMT"]
    assert printed_location(capsys, status="one unit", path="A > B [b] > C", tzids=zones, **keys) == [
        "AAA A",
        "AAA.1_1 B [b]",
        "AAA.1.2_1 C",
        "time zone Africa/Lome, Etc/GMT",
    ]


def test_a_point_on_a_border_is_told_with_all_units(capsys: pytest.CaptureFixture[str]) -> None:
    gids = ["AAA.1_1", "AAA.2_1"]
    lines = printed_location(capsys, status="several units", path="A", gid_0="AAA", gids=gids, tzids=["Etc/GMT"])
    assert lines[0] == "AAA A"
    assert re.fullmatch(r"several units on a border.*: AAA\.1_1, AAA\.2_1", lines[1])


def test_a_point_at_sea_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed_location(capsys, status="no unit")
    assert lines[0] == "no unit at sea"
    assert lines[1] == "time zone none"


@pytest.mark.parametrize(
    ("is_good", "is_needed", "mark"), [(True, True, "ok"), (False, True, "missing"), (False, False, "warning")]
)
def test_a_check_says_whether_the_project_works_without(
    capsys: pytest.CaptureFixture[str], is_good: bool, is_needed: bool, mark: str
) -> None:
    console.check(Check("disk", is_good, "7 GiB [free]", "Buy one.", is_needed))
    printed = capsys.readouterr().out
    assert re.match(rf"{mark} +disk: 7 GiB \[free\]\n", printed)
    assert ("Buy one." in printed) is not is_good


def test_text_in_brackets_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(IngestError("Self-intersection[10 20] in [bold].", "Look at [red]."))
    console.say("[/] and [link=x]")
    printed = capsys.readouterr()
    assert "Self-intersection[10 20] in [bold].\nLook at [red]." in printed.err
    assert printed.out == "[/] and [link=x]\n"


@pytest.fixture
def loading(ledger: Ledger, request_of: MakeRequest) -> Run:
    """A run of which one of two slices is loaded."""
    run_id = ledger.create_run(request_of(), None)
    ledger.set_state(run_id, RunState.PLANNING)
    ledger.create_slices(run_id, [planned_slice(), planned_slice()])
    note_loaded(ledger, claimed_slice(ledger, run_id))
    return ledger.run(run_id)


def test_the_rows_that_are_counted_are_those_that_were_loaded(
    ledger: Ledger, loading: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    console.counts(ledger, [loading])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == ["gadm", "4.1", "gadm_adm_1", "4", "2", "0.0"]


def test_a_watch_ends_with_the_last_of_its_runs(ledger: Ledger, request_of: MakeRequest) -> None:
    first, second = (ledger.create_run(request_of(name), None) for name in ("gadm", "timezones"))
    ledger.fail(first, "no")
    looks: list[int] = []

    def is_alive() -> bool:
        looks.append(1)
        if len(looks) == 3:
            ledger.fail(second, "no")
        return True

    console.watch(ledger, [first, second], is_alive)
    assert ledger.run(second).state == "failed"


class Outage:
    """A ledger that is away for a while: its clock goes on by two seconds with every look."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, begins: float, ends: float) -> None:
        self.seconds, self._ledger, self._span = 0.0, ledger, (begins, ends)
        monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: self.seconds, sleep=self._go_on))

    def _go_on(self, _seconds: float) -> None:
        self.seconds += 2.0

    def run(self, run_id: str) -> Run:
        """Return a run, or fail."""
        if self._span[0] <= self.seconds < self._span[1]:
            raise TargetUnavailable("The server restarts.")
        return self._ledger.run(run_id)

    def slices(self, run_id: str) -> list[Slice]:
        """Return no slices."""
        return []


def test_after_an_outage_workers_have_time_to_say_that_they_live(
    ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ledger.create_run(request_of(), None)
    outage = Outage(ledger, monkeypatch, 2.0, 2.0 + console.OUTAGE_SECONDS - 10)

    def is_alive() -> bool:
        if outage.seconds > console.OUTAGE_SECONDS - 5:
            ledger.fail(run_id, "no")
        return outage.seconds < 2.0

    console.watch(outage, [run_id], is_alive)  # type: ignore[arg-type]
    assert ledger.run(run_id).state == "failed"


def test_a_database_that_stays_away_ends_the_watch(
    ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ledger.create_run(request_of(), None)
    outage = Outage(ledger, monkeypatch, 2.0, 10 * console.OUTAGE_SECONDS)
    with pytest.raises(TargetUnavailable):
        console.watch(outage, [run_id], lambda: True)  # type: ignore[arg-type]
    assert outage.seconds < 2 * console.OUTAGE_SECONDS


def test_a_run_without_live_workers_is_not_watched_for_ever(
    ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ledger.create_run(request_of(), None)
    never = Outage(ledger, monkeypatch, -1.0, -1.0)
    console.watch(never, [run_id], lambda: never.seconds < 20)  # type: ignore[arg-type]
    assert 20 < never.seconds < 40


def named(number: int) -> Name:
    """Return a unit of some name."""
    return Name(f"AAA.{number}_1", 1, "Kara [x]", "variant" if number else "name", None, f"A > Kara {number}", True)


@pytest.mark.parametrize(("there", "shown", "has_more"), [(1, 1, False), (3, 3, False), (4, 3, True)])
def test_as_many_names_are_found_as_are_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, there: int, shown: int, has_more: bool
) -> None:
    @contextmanager
    def open_warehouse(_settings: object) -> Iterator[object]:
        yield SimpleNamespace(
            editions=lambda: [CURRENT], find=lambda _name, limit: [named(number) for number in range(there)][:limit]
        )

    monkeypatch.setattr(warehouse, "open_warehouse", open_warehouse)
    code, printed = run_command("find", "kara", "--limit", "3", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0
    assert printed.count("Kara [x]") == shown
    assert printed.count("Kara [x] (variant)") == shown - 1
    assert ("Use --limit 6 to see them" in printed) is has_more


def test_no_limit_is_suggested_that_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def open_warehouse(_settings: object) -> Iterator[object]:
        yield SimpleNamespace(
            editions=lambda: [CURRENT], find=lambda _name, limit: [named(number) for number in range(limit)]
        )

    monkeypatch.setattr(warehouse, "open_warehouse", open_warehouse)
    for limit, hint in ((600, "Use --limit 1000 to see them."), (1000, "Give a longer name.")):
        code, printed = run_command("find", "kara", "--limit", str(limit), capsys=capsys, monkeypatch=monkeypatch)
        assert code == 0
        assert printed.rstrip().endswith(f"… and more. {hint}")


def test_a_command_that_is_interrupted_ends_with_1(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_rows: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "runs", interrupted)
    code, printed = run_command("status", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 1
    assert "Interrupted." in printed


@pytest.mark.parametrize(
    ("values", "extent", "source"),
    [
        ({"scope": "world"}, "world", "gadm.gpkg"),
        ({"scope": "countries", "levels": (0, 1)}, "countries, levels 0, 1", "gadm.gpkg"),
        ({"only_countries": ("TG", "GH"), "scope": "countries"}, "TG, GH", "gadm.gpkg"),
    ],
)
def test_a_run_is_listed_with_its_scope_and_its_source(
    values: dict[str, object],
    extent: str,
    source: str,
    ledger: Ledger,
    request_of: MakeRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ledger.create_run(request_of(**values), None)
    console.runs(ledger.recent_runs())
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["scope", "source"]
    assert re.search(rf"{extent} +{source}", line)


def test_the_source_of_a_run_is_listed_without_its_secret(
    ledger: Ledger, request_of: MakeRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    addresses = [f"https://data.example.org/{name}.zip?sig=5igned" for name in ("a", "b", "c")]
    run_id = ledger.create_run(request_of("gadm", *addresses), None)
    console.runs(ledger.recent_runs())
    console.run(ledger, ledger.run(run_id), "embedded")
    printed = capsys.readouterr().out
    assert "a.zip and 2 more" in printed
    assert "scope: custom" in printed
    assert "5igned" not in printed
