"""The dashboard shows the ledger as it is, keeps secrets, and does nothing that another site asks for."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import duckdb
import pytest
import uvicorn

from admin_boundaries import what_changed
from admin_boundaries.warehouse import Warehouse
from ingest import catalog
from ingest.dashboard import feeds, views
from ingest.dashboard import server as served
from ingest.dashboard.explorer import Explorer
from ingest.errors import RunNotFound
from ingest.ledger import Ledger, Request, RunState, Slice, worker_name
from ingest.ledger.tables import consumers, slices
from ingest.pipeline import consumer
from ingest.pipeline import runs as loading
from ingest.settings import PROJECT_ROOT, Settings
from tests.fixtures import compared
from tests.fixtures import marts as built
from tests.ingest.conftest import claimed_slice, note_loaded, planned_slice, slice_in

MakeRequest = Callable[..., Request]
SECRET = "5igned-by-the-publi5her"


@dataclass
class Browser:
    """As much of a browser as is needed: it keeps the cookie and says where a request comes from."""

    port: int
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    feeds: Any = None  # of the server

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {"Cookie": self.cookie} if self.cookie else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        found = {name.lower(): value for name, value in answer.getheaders()}
        if "set-cookie" in found:
            self.cookie = found["set-cookie"].partition(";")[0]
        connection.close()
        return answer.status, text, found

    def get(self, path: str = "/") -> str:
        status, text, _ = self.ask("GET", path)
        assert status == 200, text
        return text

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, path: str = "/") -> str:
        found = re.search(r'name="token" value="(\w+)"', self.get(path))
        assert found
        return found[1]

    def press(self, path: str, token: str, **headers: str) -> int:
        body = urllib.parse.urlencode({"token": token, "page": "overview"})
        return self.ask("POST", path, body, **{"Origin": self.origin, **headers})[0]

    def events(self, path: str = "/events") -> dict[str, str]:
        """Return the first message of a stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path, headers={"Cookie": self.cookie})
        answer = connection.getresponse()
        line = answer.readline().decode()
        connection.close()
        sections: dict[str, str] = json.loads(line.removeprefix("data: "))
        return sections


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def serve(settings: Settings, ledger: Ledger) -> Iterator[Callable[..., Browser]]:
    """Return a function that serves the dashboard of an embedded target and opens it."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(**options: bool) -> Browser:
        made = served.Dashboard(settings, ledger, Explorer(settings, catalog.rights_of_datasets()), **options)
        app = made.app(served.names_of("127.0.0.1"))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread))
        return Browser(listener.getsockname()[1], feeds=made._feeds)

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(60)


@pytest.fixture
def browser(serve: Callable[..., Browser]) -> Browser:
    return serve()


@pytest.fixture
def rolled_back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was rolled back."""
    done: list[str] = []
    monkeypatch.setattr(loading, "rollback", lambda dataset, _reporter: done.append(dataset))
    return done


def published(ledger: Ledger, request: Request) -> str:
    """Note a run as published."""
    run_id = ledger.create_run(request, None)
    before = ledger.published_run(request.dataset)
    if before:
        ledger.set_state(before.run_id, RunState.SUPERSEDED, only_from=("published",))
    ledger.set_state(run_id, RunState.PUBLISHED, rows_loaded=5658, published_at=ledger.now())
    return run_id


@pytest.fixture
def two_runs(ledger: Ledger, request_of: MakeRequest) -> tuple[str, str]:
    """Two publications, so that there is something to return to."""
    return published(ledger, request_of()), published(ledger, request_of())


def loading_run(ledger: Ledger, request: Request) -> str:
    """Note a run of which one of two slices is loaded."""
    run_id = ledger.create_run(request, None)
    ledger.set_state(run_id, RunState.PLANNING, started_at=ledger.now())
    ledger.create_slices(run_id, [planned_slice(), planned_slice(fid_from=5, fid_to=8)])
    note_loaded(ledger, claimed_slice(ledger, run_id))
    return run_id


def test_an_empty_ledger_says_how_to_begin(browser: Browser) -> None:
    text = browser.get()
    assert "Nothing has run yet" in text
    assert "--release sample" in text


def test_a_run_under_way_is_shown_with_its_layers(browser: Browser, ledger: Ledger, request_of: MakeRequest) -> None:
    run_id = loading_run(ledger, request_of())
    for text in (browser.get(), browser.get(f"/runs/{run_id}")):
        assert run_id in text
        assert re.search(r'<progress value="100" max="200"', text)
        assert re.search(r"4 <i>of 8 rows", text)
        assert "No worker is alive" in text


def test_a_page_is_brought_up_to_date_without_reloading(
    browser: Browser, ledger: Ledger, request_of: MakeRequest
) -> None:
    browser.get()
    assert "gadm_adm_1" not in browser.events()["running"]
    run_id = loading_run(ledger, request_of())
    assert "gadm_adm_1" in browser.events()["running"]
    assert "gadm_adm_1" in browser.events(f"/runs/{run_id}/events")["slices"]


def test_what_a_file_calls_itself_is_text_and_no_markup(
    browser: Browser, ledger: Ledger, request_of: MakeRequest
) -> None:
    run_id = loading_run(ledger, request_of())
    bad = "<script>alert(1)</script>"
    with ledger.transaction() as connection:
        connection.execute(slices.update().values(source_file=bad, worker=bad))
    ledger.fail(run_id, bad)
    for path in ("/", f"/runs/{run_id}"):
        assert "<script>alert" not in browser.get(path)
    assert "&lt;script&gt;" in browser.get(f"/runs/{run_id}")
    assert not any("<script>alert" in part for part in browser.events().values())


def test_no_query_of_an_address_is_shown(browser: Browser, ledger: Ledger, request_of: MakeRequest) -> None:
    address = f"https://host/gadm.gpkg?signature={SECRET}"
    run_id = ledger.create_run(request_of("gadm", address), None)
    ledger.fail(run_id, f"{address} answered 403")
    for path in ("/", f"/runs/{run_id}"):
        assert SECRET not in browser.get(path)
    assert SECRET not in json.dumps(browser.events())
    assert "https://host/gadm.gpkg?…" in browser.get(f"/runs/{run_id}")


def test_a_run_that_is_not_there_is_404(browser: Browser) -> None:
    status, text, _ = browser.ask("GET", "/runs/none")
    assert status == 404
    assert "There is no run" in text


def test_every_answer_forbids_what_the_pages_do_not_need(browser: Browser) -> None:
    for path in ("/", "/files/live.js", "/runs/none"):
        _, _, headers = browser.ask("GET", path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
    assert not re.search(r"""\s(style|on\w+)=["']|src=["']http""", browser.get())


def test_the_cookie_is_sent_from_no_other_site_and_read_by_no_script(browser: Browser) -> None:
    _, _, headers = browser.ask("GET", "/")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=strict" in headers["set-cookie"]


def test_a_name_that_is_pointed_here_is_refused(browser: Browser) -> None:
    for method in ("GET", "POST"):
        assert browser.ask(method, "/", Host=f"evil.example:{browser.port}")[0] == 400


@pytest.mark.parametrize("host", ["", "[", "[::1", "::1", "127.0.0.1:80:80", "127.0.0.1 evil.example", "[127.0.0.1]x"])
def test_a_malformed_host_is_refused(browser: Browser, host: str) -> None:
    assert browser.ask("GET", "/", Host=host)[0] == 400


@pytest.mark.usefixtures("two_runs")
@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]", "localhost.", "LOCALHOST"])
def test_an_address_of_version_6_and_other_spellings_are_known(
    browser: Browser, rolled_back: list[str], host: str
) -> None:
    named = f"{host}:{browser.port}"
    path, token = "/datasets/gadm/rollback", browser.token()
    assert browser.ask("GET", "/", Host=named)[0] == 200
    assert browser.press(path, token, Host=named, Origin=f"http://{named.lower()}") == 303
    assert browser.press(path, token, Host=named, Origin=f"http://{browser.port}") == 403
    assert browser.press(path, token, Host=named, Origin="") == 403
    assert rolled_back == ["gadm"]


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_the_server_says_where_it_listens_with_brackets_around_an_address_of_version_6(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    asked, said = [], list[str]()

    def listen(address: tuple[str, int], **options: object) -> object:
        asked.append((address, options["family"]))
        listener = MagicMock()
        listener.getsockname.return_value = ("::1", 5555)
        return listener

    monkeypatch.setattr(socket, "create_server", listen)
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)
    served.serve(
        settings,
        host=host,
        port=0,
        names=[],
        is_read_only=False,
        workers=1,
        of_datasets=catalog.rights_of_datasets(),
        report=said.append,
    )
    assert asked == [(("::1", 0), socket.AF_INET6)]
    assert said == ["dashboard  http://[::1]:5555/  (Ctrl-C stops it)"]


@contextmanager
def streams(browser: Browser, count: int, path: str = "/events") -> Iterator[list[http.client.HTTPResponse]]:
    """Keep streams open, each of which has received the page."""
    with ExitStack() as opened:
        answers = []
        for _ in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", browser.port, timeout=20)
            opened.callback(connection.close)
            connection.request("GET", path, headers={"Cookie": browser.cookie})
            answers.append(connection.getresponse())
            opened.callback(answers[-1].close)
        for answer in answers:
            assert answer.status == 503 or answer.readline().startswith(b"data: ")
        yield answers


def test_a_page_is_rendered_for_all_who_look_at_it_and_for_nobody_it_is_not(
    serve: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered, overview = [0], views.overview

    def counted(*arguments: Any) -> dict[str, str]:
        rendered[0] += 1
        return overview(*arguments)

    monkeypatch.setattr(views, "overview", counted)
    monkeypatch.setattr(feeds, "FRESH_SECONDS", 0.2)
    browser = serve()
    with streams(browser, 50):
        assert rendered[0] < 25
        now = rendered[0]
        wait_until(lambda: rendered[0] > now + 1)
    wait_until(browser.feeds._poller.done)
    assert browser.feeds._pages == {}


def test_more_streams_than_the_server_has_connections_for_are_refused_until_one_ends(
    serve: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MAX_STREAMS", 3)
    browser = serve()
    with streams(browser, 5) as answers:
        assert [answer.status for answer in answers] == [200, 200, 200, 503, 503]
        assert browser.ask("GET", "/alive")[0] == 200
        assert "Too many pages" in browser.ask("GET", "/events")[1]
    wait_until(lambda: not browser.feeds._pages)
    assert browser.events()


@pytest.mark.usefixtures("two_runs")
def test_the_buttons_of_a_stream_are_those_of_its_session(browser: Browser, rolled_back: list[str]) -> None:
    others = Browser(browser.port)
    tokens = []
    for each in (browser, others):
        each.get()
        found = re.search(r'name="token" value="(\w+)"', each.events()["published"])
        assert found
        tokens.append(found[1])
    assert tokens == [browser.token(), others.token()]
    assert browser.press("/datasets/gadm/rollback", tokens[1]) == 403
    assert browser.press("/datasets/gadm/rollback", tokens[0]) == 303
    assert rolled_back == ["gadm"]


def test_a_page_that_cannot_be_rendered_says_so_and_comes_back(
    serve: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    overview = views.overview
    monkeypatch.setattr(feeds, "FRESH_SECONDS", 0.05)
    monkeypatch.setattr(views, "overview", lambda *_: 1 / 0)
    browser = serve()
    assert "could not be updated" in browser.events()["trouble"]
    monkeypatch.setattr(views, "overview", overview)
    wait_until(lambda: browser.events()["trouble"] == "")


def test_a_button_does_what_it_says(browser: Browser, two_runs: tuple[str, str], rolled_back: list[str]) -> None:
    assert browser.press("/datasets/gadm/rollback", browser.token()) == 303
    assert rolled_back == ["gadm"]
    assert "readers see the previous publication again" in browser.get()
    assert "readers see the previous publication again" not in browser.get()


@pytest.mark.usefixtures("two_runs")
def test_a_button_is_refused_from_elsewhere(browser: Browser, rolled_back: list[str]) -> None:
    token = browser.token()
    path = "/datasets/gadm/rollback"
    assert browser.press(path, token, Origin="https://evil.example") == 403
    assert browser.press(path, token, Origin="null") == 403
    assert browser.press(path, "") == 403
    assert browser.press(path, "0" * 64) == 403
    assert browser.ask("POST", path, f"token={token}")[0] == 403  # no origin
    assert Browser(browser.port).press(path, token) == 403  # no cookie
    assert Browser(browser.port, cookie=f"{served.COOKIE}=another").press(path, token) == 403
    assert browser.ask("GET", path)[0] == 405
    assert rolled_back == []


@pytest.mark.usefixtures("two_runs")
def test_a_form_that_is_far_too_long_is_refused(browser: Browser, rolled_back: list[str]) -> None:
    form = urllib.parse.urlencode({"token": browser.token(), "more": "x" * served.MAX_FORM_BYTES})
    assert browser.ask("POST", "/datasets/gadm/rollback", form, Origin=browser.origin)[0] == 403
    assert rolled_back == []


@pytest.mark.usefixtures("two_runs")
def test_a_dashboard_that_is_read_only_has_no_button_and_takes_none(
    serve: Callable[..., Browser], rolled_back: list[str]
) -> None:
    browser = serve(is_read_only=True)
    assert "<form" not in browser.get()
    assert browser.press("/datasets/gadm/rollback", "") == 403
    assert rolled_back == []


@pytest.mark.usefixtures("two_runs")
def test_why_a_button_failed_is_said_on_the_page(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_dataset: str, _reporter: object) -> None:
        raise RunNotFound("Run x has lost rows <b>of</b> gadm_adm_1.")

    monkeypatch.setattr(loading, "rollback", fails)
    assert browser.press("/datasets/gadm/rollback", browser.token()) == 303
    assert "has lost rows &lt;b&gt;of" in browser.get()


def test_a_failed_run_is_retried_with_the_same_request(
    browser: Browser, ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []

    def start(requests: list[Request], _reporter: object, *, workers: int, force: bool, is_async: bool) -> None:
        assert (force, is_async) == (True, True)  # a retry loads what is unchanged, too, and nobody waits
        asked.extend(requests)

    monkeypatch.setattr(loading, "start", start)
    request = request_of(levels=(0, 1))
    run_id = ledger.create_run(request, None)
    ledger.fail(run_id, "why")
    assert browser.press(f"/runs/{run_id}/retry", browser.token(f"/runs/{run_id}")) == 303
    assert asked == [request]


def test_a_run_that_has_not_ended_is_not_retried(
    browser: Browser, ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "start", lambda *_arguments, **_options: pytest.fail("was loaded twice at once"))
    run_id = loading_run(ledger, request_of())
    browser.press(f"/runs/{run_id}/retry", browser.token(f"/runs/{run_id}"))
    assert f"Run {run_id} has not ended." in browser.get()


def test_a_run_with_a_signed_address_is_retried_on_the_command_line(
    browser: Browser, ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "start", lambda *_arguments, **_options: pytest.fail("was loaded without its query"))
    run_id = ledger.create_run(request_of("gadm", f"https://host/a.gpkg?{SECRET}"), None)
    ledger.fail(run_id, "why")
    browser.press(f"/runs/{run_id}/retry", browser.token(f"/runs/{run_id}"))
    assert "--source ADDRESS" in browser.get()


def test_a_run_without_workers_is_resumed_and_the_page_does_not_wait_for_its_end(
    browser: Browser, ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        loading, "resume", lambda run_id, _reporter, *, workers, is_async: asked.append((run_id, is_async))
    )
    run_id = loading_run(ledger, request_of())
    assert browser.press(f"/runs/{run_id}/resume", browser.token()) == 303
    assert asked == [(run_id, True)]


def test_the_server_listens_on_this_host_only_unless_told_otherwise() -> None:
    from ingest.cli.serving import dashboard

    defaults = {option.name: option.default for option in dashboard.params}
    assert (defaults["host"], defaults["port"]) == ("127.0.0.1", 5555)
    assert not {"0.0.0.0", "::"} & set(served.names_of("0.0.0.0", ["::"]))
    assert "boundaries.example" in served.names_of("0.0.0.0", ["boundaries.example"])


@pytest.mark.parametrize("page", ["overview", "run"])
def test_a_button_returns_to_the_page_on_which_it_was_pressed(
    browser: Browser, ledger: Ledger, request_of: MakeRequest, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setattr(loading, "resume", lambda *_arguments, **_options: None)
    run_id = loading_run(ledger, request_of())
    body = urllib.parse.urlencode({"token": browser.token(), "page": page})
    _, _, headers = browser.ask("POST", f"/runs/{run_id}/resume", body, Origin=browser.origin)
    assert headers["location"] == ("/" if page == "overview" else f"/runs/{run_id}")


NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def loaded(seconds_ago: float, *, megabytes: int = 60) -> Slice:
    """Return a slice that was loaded some time ago."""
    return slice_in(
        "loaded", finished_at=NOW - timedelta(seconds=seconds_ago), rows_loaded=120, bytes=megabytes * 1_000_000
    )


def test_the_speed_is_that_of_the_last_minute() -> None:
    done = [loaded(1), loaded(59), loaded(61), loaded(500)]
    assert views._speed(done, NOW) == {"rows": 4.0, "megabytes": 2.0}


def test_the_chart_runs_from_ten_minutes_ago_to_now() -> None:
    chart = views._chart([loaded(5), loaded(8), loaded(595, megabytes=30), loaded(601)], NOW)
    assert (chart["bins"][0], chart["bins"][-1], chart["highest"]) == (3.0, 12.0, 12.0)
    assert sum(chart["bins"]) == 15.0


def test_a_consumer_that_is_silent_is_shown_as_dead(browser: Browser, ledger: Ledger, settings: Settings) -> None:
    queue, now = consumer.queue_id(settings), ledger.now()
    ledger.heartbeat(worker_name(), queue, 2)
    gone = {"consumer": "another.host:7", "queue_id": queue, "workers": 4, "started_at": now - timedelta(hours=3)}
    with ledger.transaction() as connection:
        connection.execute(consumers.insert().values(heartbeat_at=now - timedelta(minutes=1), **gone))
    shown = browser.events()["workers"]
    assert re.findall(r'<span class="state \w+">(\w+)</span>', shown) == ["alive", "dead"]
    assert re.findall(r"<td>(now|[\d:]+)(?: s)?(?: ago)?</td>", shown)[-1].startswith("1:")
    assert re.search(r"<b>2</b><span>worker processes alive", browser.get())
    assert re.search(r"<b>1</b><span>consumer dead", browser.get())


def cards(browser: Browser) -> dict[str, str]:
    """Return the text of the card of each dataset."""
    found = re.findall(r"<article class=\"card\">.*?<h3>(\w+)</h3>(.*?)</article>", browser.get(), re.DOTALL)
    return {name: " ".join(re.sub(r"<[^>]+>", " ", card).split()) for name, card in found}


@pytest.mark.parametrize("is_read_only", [True, False])
def test_a_card_says_which_run_the_marts_are_of_and_whether_they_are_stale(
    serve: Callable[..., Browser],
    settings: Settings,
    ledger: Ledger,
    request_of: MakeRequest,
    monkeypatch: pytest.MonkeyPatch,
    is_read_only: bool,
) -> None:
    monkeypatch.setattr(views, "MARTS_SECONDS", 0.0)
    run_id = published(ledger, request_of())
    published(ledger, request_of("timezones"))
    browser = serve(is_read_only=is_read_only)
    assert "unknown release 4.1 They are not built: run `dbt build`." in cards(browser)["gadm"]
    built.write(settings.home)
    built_at = f"built {built.BUILT_AT.astimezone():%Y-%m-%d %H:%M:%S}"
    assert f"stale release 4.1 Marts of release 4.0, run run-a , {built_at}; stale since 20" in cards(browser)["gadm"]
    assert "The marts hold nothing of timezones. dbt build" in cards(browser)["timezones"]
    built.write_meta(settings.home, {"gadm": (run_id, "4.1")})
    assert f"current release 4.1 Marts of the published run, {built_at}." in cards(browser)["gadm"]
    later = published(ledger, request_of())
    assert f"stale release 4.1 Marts of release 4.1, run {run_id}" in cards(browser)["gadm"]
    assert later in cards(browser)["gadm"]
    built.forget_meta(settings.home)
    assert "unknown release 4.1 The marts do not say" in cards(browser)["gadm"]


def test_the_page_begins_with_what_readers_see_and_names_what_is_not_loaded_in_one_line(
    browser: Browser, ledger: Ledger, request_of: MakeRequest
) -> None:
    assert "Nothing is published yet. Datasets: gadm, " in browser.get()
    published(ledger, request_of())
    text = browser.get()
    assert text.index("What readers see") < text.index("Latest runs")
    assert set(cards(browser)) == {"gadm"}
    assert "Scope: custom. Source: /data/gadm.gpkg" in cards(browser)["gadm"]
    published(ledger, request_of("timezones", str(PROJECT_ROOT / "sample" / "zones.zip")))
    assert "Source: sample/zones.zip" in cards(browser)["timezones"]
    assert re.search(r"Not loaded: (?!.*gadm,).*timezones", text)


def test_what_is_zero_has_no_tile(browser: Browser, ledger: Ledger, request_of: MakeRequest) -> None:
    assert browser.events()["state"].strip() == ""
    loading_run(ledger, request_of())
    shown = browser.events()["state"]
    assert re.search(r"<b>1</b><span>run in progress", shown)
    assert re.search(r"<b>no</b><span>worker processes alive", shown)
    assert "<b>0</b>" not in shown


def test_a_card_says_what_changed_since_the_release_before(
    serve: Callable[..., Browser], settings: Settings, ledger: Ledger, request_of: MakeRequest
) -> None:
    published(ledger, request_of())
    published(ledger, request_of("timezones"))
    compared.write(settings.home, [compared.Piece("A", "A", 1.0), compared.Piece(None, "B", 1.0)])
    shown = cards(serve())
    assert "3.6 → 4.1: 1 new, 1 kept" in shown["gadm"]
    assert "3.6 → 4.1" not in shown["timezones"]


def test_what_changed_is_counted_once_a_build(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MARTS_SECONDS", 0.0)
    compared.write(settings.home, [compared.Piece("A", "A", 1.0)])
    counted: list[Warehouse] = []

    def told(warehouse: Warehouse) -> str:
        counted.append(warehouse)
        return "some"

    monkeypatch.setattr(what_changed, "told", told)
    marts, gadm = views.Marts(settings), catalog.get("gadm")
    assert [marts.changes(gadm) for _ in range(3)] == ["some"] * 3
    assert len(counted) == 1
    with duckdb.connect(str(built.path_of(settings.home))) as connection:
        connection.execute("update marts.marts_meta set build_id = 'another'")
    assert marts.changes(gadm) == "some"
    assert len(counted) == 2


def test_pages_that_are_open_at_the_same_time_read_the_marts_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Settings] = []

    @contextmanager
    def open_warehouse(settings: Settings) -> Iterator[SimpleNamespace]:
        opened.append(settings)
        yield SimpleNamespace(editions=list)

    monkeypatch.setattr(views, "open_warehouse", open_warehouse)
    marts = views.Marts(settings)
    gadm, zones = catalog.get("gadm"), catalog.get("timezones")
    assert marts.read(gadm) == marts.read(zones)
    assert len(opened) == 1
    monkeypatch.setattr(views, "MARTS_SECONDS", 0.0)
    marts.read(gadm)
    assert len(opened) == 2


def test_a_page_says_where_the_warehouse_is_as_seen_from_the_project(settings: Settings) -> None:
    within = replace(settings, home=PROJECT_ROOT / ".warehouse")
    assert '<span class="path">.warehouse</span>' in views.page("fault.html", text="", settings=within)
    assert f'<span class="path">{settings.home}</span>' in views.page("fault.html", text="", settings=settings)
