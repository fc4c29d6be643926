"""Downloads: resumed, verified, asked for again only when they changed."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.errors import ChecksumMismatch, SourceInterrupted, SourceUnavailable
from ingest.sources import cache, http, network
from ingest.sources.address import Source
from tests.fixtures import publisher as answers
from tests.fixtures.publisher import Publisher, serving

BODY = random.Random(1).randbytes(10_240)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A publisher of one file."""
    with serving(BODY) as found:
        yield found


def bring(publisher: Publisher, tmp_path: Path) -> cache.Fetched:
    """Fetch the publisher's file into the cache."""
    return cache.fetch(Source(publisher.url()), tmp_path / "downloads")


def test_a_file_arrives_whole_and_with_its_checksum(publisher: Publisher, tmp_path: Path) -> None:
    fetched = bring(publisher, tmp_path)
    assert fetched.path.read_bytes() == BODY
    assert (fetched.bytes, fetched.sha256, fetched.was_cached) == (len(BODY), SHA256, False)
    assert fetched.path.name == "gadm.zip"


def test_a_transfer_that_breaks_off_is_resumed_where_it_stopped(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.breaks_off_after(4000), answers.breaks_off_after(1000)]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY
    assert [asked.headers.get("Range") for asked in publisher.downloads()] == [None, "bytes=4000-", "bytes=5000-"]
    assert publisher.downloads()[1].headers["If-Range"] == publisher.etag


def test_a_transfer_is_resumed_by_the_next_command_after_all_tries_of_one_failed(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.next_answers = [answers.breaks_off_after(100)] * http.ATTEMPTS
    with pytest.raises(SourceInterrupted):
        bring(publisher, tmp_path)
    assert bring(publisher, tmp_path).path.read_bytes() == BODY
    assert publisher.downloads()[-1].headers["Range"] == f"bytes={100 * http.ATTEMPTS}-"


def test_a_file_that_changed_while_it_was_interrupted_is_begun_anew(publisher: Publisher, tmp_path: Path) -> None:
    def breaks_off_and_changes(handler: answers.Handler) -> None:
        answers.breaks_off_after(4000)(handler)
        publisher.body, publisher.etag = BODY[::-1], '"2"'

    publisher.next_answers = [breaks_off_and_changes]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY[::-1]


def test_a_server_that_ignores_ranges_sends_the_whole_file_again(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.breaks_off_after(4000), answers.status(200, BODY)]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY
    assert len(publisher.downloads()) == 2


@pytest.mark.slow
def test_a_server_that_falls_silent_is_left_and_the_transfer_resumed(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "STALL_SECONDS", 1)
    arrived, waited_out = threading.Event(), []

    def falls_silent(handler: answers.Handler) -> None:
        handler.reply(200, BODY[:4000], length=len(BODY))
        waited_out.append(not arrived.wait(30))

    publisher.next_answers = [falls_silent]
    content = bring(publisher, tmp_path).path.read_bytes()
    assert waited_out == []  # the client hung up first
    arrived.set()
    assert content == BODY


def test_a_server_without_validators_is_never_resumed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.etag = ""
    publisher.next_answers = [answers.breaks_off_after(4000)]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY
    assert [asked.headers.get("Range") for asked in publisher.downloads()] == [None, None]


def test_what_a_redirect_says_of_itself_is_not_taken_for_the_file(publisher: Publisher, tmp_path: Path) -> None:
    def redirects(handler: answers.Handler) -> None:
        handler.reply(302, headers={"Location": publisher.url("elsewhere.zip"), "ETag": '"of the redirect"'})

    publisher.etag = ""
    publisher.next_answers = [redirects, answers.breaks_off_after(4000)]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY
    assert {asked.headers.get("Range") for asked in publisher.downloads()} == {None}


def test_a_part_that_was_not_asked_for_is_not_written_into_the_file(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.breaks_off_after(4000), answers.sends_range(2000, 2999)]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY


def test_a_part_that_ends_too_early_is_not_taken_for_the_end(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.breaks_off_after(4000), answers.sends_range(4000, 4999)]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY


def test_a_part_of_another_version_is_not_put_behind_the_first(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [
        answers.breaks_off_after(4000),
        answers.sends_range(4000, len(BODY) - 1, etag='"another"'),
    ]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY
    assert publisher.downloads()[-1].headers.get("Range") is None


def test_a_server_that_says_more_bytes_than_it_sends_is_asked_for_the_rest(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.next_answers = [answers.says_length(len(BODY) + 7)] * http.ATTEMPTS
    with pytest.raises(SourceInterrupted, match="bytes"):
        bring(publisher, tmp_path)
    assert not list(tmp_path.rglob("gadm.zip"))


def test_an_unneeded_part_beyond_the_end_is_begun_anew(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.breaks_off_after(4000), answers.status(416)]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_a_file_that_is_not_there_is_asked_for_once(publisher: Publisher, tmp_path: Path, code: int) -> None:
    publisher.next_answers = [answers.status(code)] * http.ATTEMPTS
    with pytest.raises(SourceUnavailable, match=f"answered {code}") as caught:
        bring(publisher, tmp_path)
    assert not isinstance(caught.value, SourceInterrupted)
    assert len(publisher.asked) == 1


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503])
def test_a_server_that_is_busy_is_asked_again(publisher: Publisher, tmp_path: Path, code: int) -> None:
    publisher.next_answers = [answers.status(code)] * (http.ATTEMPTS - 1)
    assert bring(publisher, tmp_path).sha256 == SHA256
    assert len(publisher.downloads()) == http.ATTEMPTS


class FullDisk(io.BytesIO):
    """A file on a disk that has no room left."""

    def write(self, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_up_during_a_download_is_told_as_such(publisher: Publisher) -> None:
    source = Source.parse(publisher.url())
    with pytest.raises(SourceUnavailable, match="cannot be written to this disk") as caught:
        http.request(source, http.Validators(), into=FullDisk())
    assert not isinstance(caught.value, SourceInterrupted)  # trying again makes no room


def test_a_server_that_stays_busy_ends_as_a_fault_that_may_pass(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.status(503)] * http.ATTEMPTS
    with pytest.raises(SourceInterrupted, match="answered 503") as caught:
        bring(publisher, tmp_path)
    assert isinstance(caught.value, SourceInterrupted)


def test_no_server_at_all_ends_as_a_fault_that_may_pass(publisher: Publisher, tmp_path: Path) -> None:
    url = publisher.url().replace(str(publisher.port), "1")
    with pytest.raises(SourceInterrupted, match=r"127\.0\.0\.1"):
        cache.fetch(Source(url), tmp_path)


def test_a_redirect_is_followed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.redirects_to("/elsewhere.zip")]
    assert bring(publisher, tmp_path).sha256 == SHA256
    assert [asked.path for asked in publisher.downloads()] == ["/gadm.zip", "/elsewhere.zip"]


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"])
def test_a_redirect_to_anything_but_http_is_refused(publisher: Publisher, tmp_path: Path, location: str) -> None:
    publisher.next_answers = [answers.redirects_to(location)]
    with pytest.raises(SourceUnavailable) as caught:
        bring(publisher, tmp_path)
    assert not isinstance(caught.value, SourceInterrupted)
    assert not list(tmp_path.rglob("gadm.zip"))


@pytest.mark.parametrize(
    ("address", "is_reachable"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("64:ff9b::5db8:d822", True),  # 93.184.216.34 through NAT64
        ("::ffff:93.184.216.34", True),
        *((each, False) for each in ("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1")),
        *((each, False) for each in ("169.254.169.254", "100.64.0.1", "198.18.0.1", "224.0.0.1", "239.255.255.250")),
        *((each, False) for each in ("240.0.0.1", "255.255.255.255", "192.0.2.1", "::", "::1", "::127.0.0.1")),
        *((each, False) for each in ("fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1")),
        *((each, False) for each in ("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2001:db8::1")),
        *((each, False) for each in ("2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b:1::a00:1", "2001:0:7f00:1::1")),
    ],
)
def test_an_address_is_public_or_it_is_not(address: str, is_reachable: bool) -> None:
    assert network.is_public(address) == is_reachable


def refuse_private(monkeypatch: pytest.MonkeyPatch, *, but: str = "") -> None:
    """Allow no private addresses, except for one on which the publisher of a test listens."""
    monkeypatch.setenv("INGEST_NO_PRIVATE_ADDRESSES", "1")
    is_public = network.is_public
    monkeypatch.setattr(network, "is_public", lambda address: address == but or is_public(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::1]"])
def test_no_private_address_is_asked_however_it_is_written(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    refuse_private(monkeypatch)
    source = Source(f"http://{host}:{publisher.port}/gadm.zip")
    for ask in (lambda: cache.fetch(source, tmp_path / "downloads"), lambda: cache.version_of(source)):
        with pytest.raises(SourceUnavailable, match=r"leads to .*, which is not a public address") as caught:
            ask()
        assert not isinstance(caught.value, SourceInterrupted)  # or it would be asked five times
    assert publisher.asked == []


def test_a_redirect_does_not_lead_to_a_private_address(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_private(monkeypatch, but="127.0.0.1")
    assert bring(publisher, tmp_path).path.read_bytes() == BODY
    inwards = f"http://127.0.0.2:{publisher.port}/secret"
    publisher.next_answers = [answers.redirects_to(inwards)]
    with pytest.raises(SourceUnavailable, match=r"leads to 127\.0\.0\.2, which is not a public address"):
        cache.fetch(Source(publisher.url("other.zip")), tmp_path / "downloads")
    assert all(asked.path != "/secret" for asked in publisher.asked)


def test_a_request_may_forbid_private_addresses_where_the_host_does_not(publisher: Publisher, tmp_path: Path) -> None:
    with network.only_public(True), pytest.raises(SourceUnavailable, match="not a public address"):
        bring(publisher, tmp_path)
    assert bring(publisher, tmp_path).path.read_bytes() == BODY


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_not_trusted_to_refuse_private_addresses(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    refuse_private(monkeypatch, but="127.0.0.1")
    monkeypatch.setenv(name, publisher.url(""))
    with pytest.raises(SourceUnavailable, match=f"through a proxy.*Unset {name}"):
        cache.fetch(Source("http://example.org/gadm.zip"), tmp_path / "downloads")
    assert publisher.asked == []


def test_a_redirect_never_leads_from_https_to_http(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(BODY, tls=(certificate, key)) as encrypted:
        assert cache.fetch(Source(encrypted.url()), tmp_path / "a").path.read_bytes() == BODY
        encrypted.next_answers = [answers.redirects_to(publisher.url())]
        with pytest.raises(SourceUnavailable) as caught:
            cache.fetch(Source(encrypted.url("other.zip")), tmp_path / "b")
    assert not isinstance(caught.value, SourceInterrupted)
    assert publisher.asked == []


def test_a_part_that_nobody_asked_for_is_no_whole_file(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.sends_range(0, 99)]
    assert bring(publisher, tmp_path).path.read_bytes() == BODY
    publisher.next_answers = [answers.sends_range(0, len(BODY) - 1)] * http.ATTEMPTS
    with pytest.raises(SourceInterrupted, match="sent a part of the file"):
        cache.fetch(Source(publisher.url("always.zip")), tmp_path / "downloads")


@pytest.mark.parametrize("etag", ['"\xe9"', "no quotes", 'W/"1"', '"' + "x" * 5000 + '"'])
def test_an_odd_etag_is_sent_back_as_it_came(publisher: Publisher, tmp_path: Path, etag: str) -> None:
    publisher.etag = etag
    assert not bring(publisher, tmp_path).was_cached
    assert bring(publisher, tmp_path).was_cached


@pytest.mark.parametrize("path", ["a b.zip", "Łódź.zip", "%zz.zip", "a\tb.zip", "a\nb.zip", "[x].zip", "x" * 300])
def test_an_odd_address_is_fetched_or_refused(publisher: Publisher, tmp_path: Path, path: str) -> None:
    try:
        assert cache.fetch(Source(publisher.url(path)), tmp_path / "downloads").path.read_bytes() == BODY
    except SourceUnavailable as error:
        assert path not in str(error) or path.isprintable()  # noqa: PT017


def test_redirects_in_a_circle_end(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.redirects_to("/gadm.zip")] * 50
    with pytest.raises(SourceUnavailable):
        bring(publisher, tmp_path)


def test_the_right_checksum_is_accepted(publisher: Publisher, tmp_path: Path) -> None:
    source = Source.parse(f"{publisher.url()}#sha256={SHA256.upper()}")
    assert cache.fetch(source, tmp_path).sha256 == SHA256
    assert "sha256" not in publisher.asked[0].path


def test_a_wrong_checksum_is_refused_with_both_sums(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatch, match=f"{SHA256}, not {'0' * 64}"):
        cache.fetch(Source.parse(f"{publisher.url()}#sha256={'0' * 64}"), tmp_path)


def test_a_file_with_a_wrong_checksum_is_downloaded_again_the_next_time(publisher: Publisher, tmp_path: Path) -> None:
    source = Source.parse(f"{publisher.url()}#sha256={SHA256}")
    publisher.next_answers = [answers.says_length(5000)]  # shorter than the file: nothing but the checksum can tell
    with pytest.raises(ChecksumMismatch):
        cache.fetch(source, tmp_path)
    assert cache.fetch(source, tmp_path).path.read_bytes() == BODY


def test_two_processes_that_want_one_file_share_one_transfer(publisher: Publisher, tmp_path: Path) -> None:
    fetched: list[cache.Fetched] = []
    threads = [threading.Thread(target=lambda: fetched.append(bring(publisher, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.sha256 for item in fetched] == [SHA256] * 4
    assert len(publisher.downloads()) == 1
    assert sorted(item.was_cached for item in fetched) == [False, True, True, True]


def test_no_password_and_no_query_is_in_a_message_or_a_log(
    publisher: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = publisher.url("gadm.zip?token=swordfish").replace("http://", "http://anna:hunter2@")
    for answer in (answers.status(404), *[answers.status(503)] * http.ATTEMPTS, answers.redirects_to("file:///x")):
        publisher.next_answers.append(answer)
    for _ in range(3):
        with pytest.raises(SourceUnavailable) as caught:
            cache.fetch(Source(url), tmp_path)
        for secret in ("swordfish", "hunter2", "anna"):
            assert secret not in str(caught.value)
            assert secret not in caplog.text
    assert "gadm.zip" in caplog.text
    assert publisher.asked[0].path.endswith("?token=swordfish")
    assert "Authorization" in publisher.asked[0].headers
