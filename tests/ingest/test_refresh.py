"""The refresh asks publishers whether they have something new, and starts a run only where they have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ingest import catalog, sinks
from ingest.errors import SettingsError, SourceUnavailable
from ingest.ledger import Ledger, Request, RunState
from ingest.pipeline import alerts, publication, refresh
from ingest.pipeline.queue import huey
from ingest.pipeline.refresh import Finding, Verdict
from ingest.settings import Settings
from ingest.sources import cache
from ingest.sources.address import Source
from tests.fixtures import boundaries
from tests.fixtures.publisher import Handler, Publisher, serving
from tests.fixtures.webhook import listening
from tests.ingest.conftest import Pipeline
from tests.ingest.test_cli import run as run_command

MakeRequest = Callable[..., Request]
Publish = Callable[..., str]
GITHUB = "https://github.com/evansiroky/timezone-boundary-builder"


@pytest.fixture
def publisher(catalog_with: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """The publisher of everything in the catalog; its newest release of the time zones is that of the catalog."""
    text = (Path(catalog.__file__).parent / "catalog.yaml").read_text(encoding="utf-8")
    with serving(b"a file") as found:
        for host in ("https://geodata.ucdavis.edu", "https://biogeo.ucdavis.edu", GITHUB):
            text = text.replace(host, found.url("").rstrip("/"))
        catalog_with(text)
        leads_to(monkeypatch, "/releases/tag/2026c")
        yield found


def leads_to(monkeypatch: pytest.MonkeyPatch, path: str, status: int = 302) -> None:
    """Have the address of the newest release lead somewhere."""
    honest = Handler.__dict__["do_HEAD"]

    def do_head(handler: Handler) -> None:
        if handler.path == "/releases/latest":
            handler.reply(status, headers={"Location": path})
        else:
            honest(handler)

    monkeypatch.setattr(Handler, "do_HEAD", do_head)


@pytest.fixture
def publish(ledger: Ledger, request_of: MakeRequest) -> Publish:
    """Return a function that notes a published run, with what its servers answer now."""

    def note(dataset: str = "gadm", **values: Any) -> str:
        found = catalog.get(dataset)
        release = found.release(str(values.pop("release", found.default_release)))
        sources = values.pop("sources", None) or catalog.urls(found, release)
        request = request_of(dataset, *sources, **{"scope": "world", "release": release.name, **values})
        identity = request.identity([cache.version_of(Source.parse(source)) for source in request.sources])
        run_id = ledger.create_run(request, identity)
        ledger.set_state(run_id, RunState.PUBLISHED)
        return run_id

    return note


def of(findings: list[Finding], dataset: str) -> list[Finding]:
    """Return what was found of a dataset."""
    return [finding for finding in findings if finding.dataset == dataset]


def verdicts(ledger: Ledger, dataset: str = "gadm") -> list[Verdict]:
    """Check the publishers, and return the verdicts on a dataset."""
    return [finding.verdict for finding in of(refresh.check(ledger), dataset)]


def test_a_file_that_is_the_published_one_is_left(publisher: Publisher, ledger: Ledger, publish: Publish) -> None:
    run_id = publish()
    (finding,) = of(refresh.check(ledger), "gadm")
    assert (finding.verdict, finding.request) == (Verdict.UNCHANGED, None)
    assert finding.text == f"gadm 4.1: unchanged since run {run_id}."
    assert not publisher.downloads()


def test_a_file_that_changed_is_loaded_as_it_was_published(
    publisher: Publisher, ledger: Ledger, publish: Publish, settings: Settings
) -> None:
    run_id = publish(levels=(0, 1), engine="geopandas")
    publisher.etag = '"2"'
    findings = refresh.check(ledger)
    assert verdicts(ledger) == [Verdict.CHANGED]
    (made,), waiting = refresh.create_runs(settings, ledger, findings)
    assert not waiting
    assert ledger.run(made).request == ledger.run(run_id).request
    assert ledger.run(made).state == "queued"
    assert '\\"2\\"' in (ledger.run(made).identity or "").replace("\\\\", "")
    assert [file.source for file in ledger.files(made)] == [publisher.url("gadm/gadm4.1/gadm_410-levels.zip")]


def test_the_small_files_of_countries_are_looked_at_too(publisher: Publisher, ledger: Ledger, publish: Publish) -> None:
    gadm = catalog.get("gadm")
    publish(scope="countries", sources=catalog.urls(gadm, gadm.release(), countries=("TGO", "GHA")))
    assert verdicts(ledger) == [Verdict.UNCHANGED]
    publisher.etag = '"2"'
    assert verdicts(ledger) == [Verdict.CHANGED]


def test_a_source_of_ones_own_is_not_looked_at(publisher: Publisher, ledger: Ledger, publish: Publish) -> None:
    publish(scope="custom")
    asked = len(publisher.asked)
    assert verdicts(ledger) == [Verdict.SKIPPED]
    assert len(publisher.asked) == asked


def test_a_dataset_that_was_never_loaded_is_not_looked_at(publisher: Publisher, ledger: Ledger) -> None:
    assert {finding.verdict for finding in refresh.check(ledger)} == {Verdict.SKIPPED}
    assert not publisher.asked


def test_a_server_that_does_not_tell_versions_apart_makes_no_run(
    publisher: Publisher, ledger: Ledger, publish: Publish
) -> None:
    publish()
    publisher.etag = ""
    assert verdicts(ledger) == [Verdict.SKIPPED]
    with ledger.transaction() as connection:
        connection.exec_driver_sql("update ingest_runs set identity = null")
    assert verdicts(ledger) == [Verdict.SKIPPED]


def test_a_publisher_that_is_away_is_told_and_makes_no_run(
    publisher: Publisher, ledger: Ledger, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    monkeypatch.setattr(Handler, "do_HEAD", lambda handler: handler.reply(503))
    (finding,) = of(refresh.check(ledger), "gadm")
    assert (finding.verdict, finding.request) == (Verdict.UNREACHABLE, None)
    assert "answered 503" in finding.text


def test_the_mirror_that_a_release_came_from_is_asked_again_and_not_the_publisher(
    publisher: Publisher, ledger: Ledger, request_of: MakeRequest
) -> None:
    with serving(b"a file") as mirror:
        request = request_of("gadm", publisher.url(), scope="world", mirrors=((mirror.url(),),))
        run_id = ledger.create_run(request, request.identity([cache.version_of(Source(mirror.url()))]))
        ledger.set_state(run_id, RunState.PUBLISHED)
        publisher.etag = '"2"'
        assert verdicts(ledger) == [Verdict.UNCHANGED]
        mirror.etag = '"2"'
        assert verdicts(ledger) == [Verdict.CHANGED]


def test_a_file_that_comes_with_the_catalog_is_looked_at_on_the_disk(
    publisher: Publisher, ledger: Ledger, publish: Publish, tmp_path: Path
) -> None:
    path = tmp_path / "world.gpkg"
    path.write_text("1")
    publish(sources=(str(path),))
    assert verdicts(ledger) == [Verdict.UNCHANGED]
    path.write_text("22")
    assert verdicts(ledger) == [Verdict.CHANGED]


def test_a_newer_release_of_the_time_zones_is_loaded_in_the_published_variant(
    publisher: Publisher, ledger: Ledger, publish: Publish, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("timezones", release="2026c", variant="1970, without oceans")
    assert verdicts(ledger, "timezones") == [Verdict.UNCHANGED]
    leads_to(monkeypatch, "/releases/tag/2027a")
    findings = of(refresh.check(ledger), "timezones")
    assert [finding.verdict for finding in findings] == [Verdict.NEW_RELEASE]
    assert findings[0].text == "timezones 2027a: a new release; 2026c is published."
    (made,), _ = refresh.create_runs(settings, ledger, findings)
    run = ledger.run(made)
    assert (run.release, run.variant) == ("2027a", "1970, without oceans")
    assert run.source == publisher.url("releases/download/2027a/timezones-1970.shapefile.zip")


@pytest.mark.parametrize("newest", ["2026b", "2026c", "2025z"])
def test_a_release_that_is_not_newer_is_not_loaded(
    publisher: Publisher, ledger: Ledger, publish: Publish, monkeypatch: pytest.MonkeyPatch, newest: str
) -> None:
    publish("timezones", release="2026c", variant="now, with oceans")
    leads_to(monkeypatch, f"/releases/tag/{newest}")
    assert verdicts(ledger, "timezones") == [Verdict.UNCHANGED]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [("/login", 302, "names no release"), ("", 404, "answered 404"), ("", 503, "answered 503")],
)
def test_a_newest_release_that_cannot_be_looked_up_is_told_and_the_published_one_is_looked_at(
    publisher: Publisher,
    ledger: Ledger,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    status: int,
    reason: str,
) -> None:
    publish("timezones", release="2026c", variant="now, with oceans")
    leads_to(monkeypatch, path, status)
    lookup, same = of(refresh.check(ledger), "timezones")
    assert (lookup.verdict, same.verdict) == (Verdict.UNREACHABLE, Verdict.UNCHANGED)
    assert reason in lookup.text


def test_a_newer_release_that_the_catalog_does_not_know_is_announced(
    publisher: Publisher, ledger: Ledger, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("timezones", release="2026c", variant="now, with oceans")
    newer = replace(catalog.get("timezones"), _releases={"2026c": {"url": publisher.url(), "layers": []}})
    leads_to(monkeypatch, "/releases/tag/2027a")
    monkeypatch.setattr(catalog, "datasets", lambda: {"timezones": newer})
    announced, _ = refresh.check(ledger)
    assert (announced.verdict, announced.newest, announced.request) == (Verdict.ANNOUNCED, "2027a", None)
    assert "the catalog does not know it" in announced.text


def test_who_loaded_some_countries_is_told_of_a_new_release_and_does_not_get_the_world(
    publisher: Publisher, ledger: Ledger, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    gadm = replace(catalog.get("gadm"), latest=catalog.get("timezones").latest)
    gadm = replace(gadm, _releases={**gadm._releases, "2027a": gadm._releases["4.1"]})
    monkeypatch.setattr(catalog, "datasets", lambda: {"gadm": gadm})
    leads_to(monkeypatch, "/releases/tag/2027a")
    publish(scope="countries", sources=catalog.urls(gadm, gadm.release(), countries=("TGO",)))
    assert verdicts(ledger) == [Verdict.ANNOUNCED, Verdict.UNCHANGED]


def test_a_new_release_is_looked_for_at_its_own_mirrors(
    publisher: Publisher, ledger: Ledger, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = catalog.get("timezones")
    assert zones.latest is not None
    entry = {"url": publisher.url("{release}.zip"), "mirrors": [publisher.url("mirror/{release}.zip")], "layers": []}
    zones = replace(zones, _releases={"[0-9]{4}[a-z]": entry})
    monkeypatch.setattr(catalog, "datasets", lambda: {"timezones": zones})
    publish("timezones", release="2026c", variant="now, with oceans", mirrors=((publisher.url("mirror/2026c.zip"),),))
    leads_to(monkeypatch, "/releases/tag/2027a")
    (finding,) = refresh.check(ledger)
    assert finding.request is not None
    assert finding.request.sources == (publisher.url("2027a.zip"),)
    assert finding.request.mirrors == ((publisher.url("mirror/2027a.zip"),),)


def test_a_server_that_is_busy_for_a_moment_is_asked_again_for_the_newest_release(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, busy = Handler.__dict__["do_HEAD"], [503, 429, 500]

    def do_head(handler: Handler) -> None:
        handler.reply(busy.pop()) if busy else honest(handler)

    monkeypatch.setattr(Handler, "do_HEAD", do_head)
    where = catalog.get("timezones").latest
    assert where is not None
    assert refresh.latest(where) == "2026c"
    assert busy == []


def test_a_newer_release_of_the_catalog_is_announced_once_and_not_loaded(
    publisher: Publisher, ledger: Ledger, publish: Publish, settings: Settings
) -> None:
    publish(release="3.6")
    findings = of(refresh.check(ledger), "gadm")
    assert [finding.verdict for finding in findings] == [Verdict.ANNOUNCED, Verdict.UNCHANGED]
    with listening() as webhook:
        told = replace(settings, alert_webhook=webhook.url)
        for _ in range(2):
            assert refresh.create_runs(told, ledger, findings) == ([], [])
    (message,) = webhook.told
    assert (message["event"], message["dataset"]) == ("newer_release", "gadm")
    assert message["text"].startswith("gadm 4.1 is newer than the published 3.6: `python -m ingest gadm --release 4.1`")


@pytest.mark.parametrize(
    ("older", "newer"), [("4.1", "4.2"), ("4.9", "4.10"), ("3.6", "4.1"), ("2025c", "2026a"), ("2026a", "2026b")]
)
def test_releases_are_sorted_as_people_sort_them(older: str, newer: str) -> None:
    assert refresh._sort_key(older) < refresh._sort_key(newer)


def test_a_dataset_whose_run_is_under_way_gets_no_second_one(
    publisher: Publisher, ledger: Ledger, publish: Publish, settings: Settings
) -> None:
    publish()
    publisher.etag = '"2"'
    findings = refresh.check(ledger)
    (first,), _ = refresh.create_runs(settings, ledger, findings)
    made, waiting = refresh.create_runs(settings, ledger, findings)
    assert (made, [finding.dataset for finding in waiting]) == ([], ["gadm"])
    assert ledger.active_run("gadm") == first


def test_a_new_release_whose_file_is_not_there_yet_fails_in_its_run_and_not_in_the_look(
    publisher: Publisher, ledger: Ledger, publish: Publish, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("timezones", release="2026c", variant="now, with oceans")
    leads_to(monkeypatch, "/releases/tag/2027a")
    findings = refresh.check(ledger)
    monkeypatch.setattr(Handler, "do_HEAD", lambda handler: handler.reply(404))
    (made,), _ = refresh.create_runs(settings, ledger, findings)
    assert ledger.run(made).identity is None


def test_the_scheduled_look_loads_what_is_new_and_tells_once(
    publisher: Publisher,
    pipeline: Pipeline,
    publish: Publish,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    publisher.body = path.read_bytes()
    published = publish(sources=(publisher.url("gadm.gpkg"),))
    publisher.etag = '"2"'
    with listening() as webhook:
        told = replace(settings, alert_webhook=webhook.url)
        monkeypatch.setattr(refresh, "read_settings", lambda: told)
        for _ in range(3):  # as many consumers
            refresh.refresh_published.call_local()
            alerts.notice(told, pipeline.ledger)
    assert pipeline.ledger.run(published).state == "superseded"
    assert pipeline.rows("gadm_adm_1") == 4
    assert [run.state for run in pipeline.ledger.recent_runs()] == ["published", "superseded"]
    assert [message["event"] for message in webhook.told] == ["release_loaded"]
    assert webhook.told[0]["counts"]["gadm_adm_1"] == {"rows_in_file": 4, "rows_loaded": 4}


@pytest.mark.parametrize(
    ("expression", "moment", "is_due"),
    [
        ("0 3 * * *", datetime(2026, 1, 1, 3, 0), True),
        ("0 3 * * *", datetime(2026, 1, 1, 3, 1), False),
        ("*/15 * * * *", datetime(2026, 1, 1, 7, 45), True),
        ("30 4 1,15 * *", datetime(2026, 1, 15, 4, 30), True),
        ("0 6 * * 1-5", datetime(2026, 1, 3, 6, 0), False),  # a Saturday
        ("0 6 * * 0", datetime(2026, 1, 4, 6, 0), True),
    ],
)
def test_a_schedule_is_five_fields_as_cron_has_them(expression: str, moment: datetime, is_due: bool) -> None:
    assert refresh.cron_matcher(expression)(moment) is is_due


@pytest.mark.parametrize(
    "expression", ["daily", "0 3 * *", "0 3 * * * *", "60 3 * * *", "0,x 3 * * *", "0 3 * * MON", "a b c d e"]
)
def test_a_schedule_that_is_none_is_refused(expression: str) -> None:
    with pytest.raises(SettingsError, match="is not a cron expression"):
        refresh.set_schedule(expression)


def test_the_schedule_is_off_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh.schedule, "expression", "")
    moment = datetime(2026, 1, 1, 3, 0)
    assert not refresh.set_schedule("")
    assert not huey.read_periodic(moment)
    assert refresh.set_schedule("0 3 * * *")
    assert [task.name for task in huey.read_periodic(moment)] == ["refresh_published"]
    assert not huey.read_periodic(datetime(2026, 1, 1, 3, 1))


@pytest.mark.parametrize(
    ("arguments", "variable", "schedule"),
    [
        ((), "", ""),
        ((), "0 3 * * *", "0 3 * * *"),
        (("--refresh", "5 4 * * *"), "0 3 * * *", "5 4 * * *"),
        (("--refresh", ""), "0 3 * * *", ""),
        (("--until-ended", "RUN"), "0 3 * * *", ""),
    ],
)
def test_a_worker_takes_its_schedule_from_the_option_else_from_the_environment(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    variable: str,
    schedule: str,
) -> None:
    from ingest.pipeline import consumer

    given: list[str] = []
    monkeypatch.setattr(consumer, "run", lambda *values: given.append(values[4]))
    monkeypatch.setenv("REFRESH_SCHEDULE", variable)
    assert run_command("worker", *arguments, capsys=capsys, monkeypatch=monkeypatch) == (0, "")
    assert given == [schedule]


def test_a_worker_with_a_schedule_that_is_none_does_not_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, printed = run_command("worker", "--refresh", "daily", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 1
    assert "'daily' is not a cron expression" in printed


def test_the_command_says_what_it_found_and_ends_with_1_where_a_publisher_was_not_reached(
    publisher: Publisher,
    ledger: Ledger,
    publish: Publish,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id = publish()
    publication.restore(ledger, sinks.get(settings), str)
    code, printed = run_command("refresh", capsys=capsys, monkeypatch=monkeypatch)
    assert (code, printed.splitlines()) == (
        0,
        [
            f"gadm 4.1: unchanged since run {run_id}.",
            f"{', '.join(name for name in catalog.datasets() if name != 'gadm')}: never loaded, nothing to refresh.",
            "Next: `dbt build` builds the marts from the published runs.",
        ],
    )
    publisher.next_answers = []
    monkeypatch.setattr(Handler, "do_HEAD", lambda handler: handler.reply(503))
    code, printed = run_command("refresh", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 1
    assert "The publisher of gadm could not be reached." in printed


def test_an_address_that_nobody_answers_at_names_no_release() -> None:
    where = catalog.Latest("http://127.0.0.1:1/releases/latest", re.compile("(?P<release>.*)"))
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1"):
        refresh.latest(where)


def test_the_pattern_of_the_catalog_reads_what_its_publisher_redirects_to() -> None:
    latest = catalog.get("timezones").latest
    assert latest is not None
    match = latest.pattern.search(f"{GITHUB}/releases/tag/2026c")
    assert match is not None
    assert match["release"] == "2026c"
    assert not latest.pattern.search(f"{GITHUB}/releases")
