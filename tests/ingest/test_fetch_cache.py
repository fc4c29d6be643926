"""What is known of a source without bringing it, and what is brought once only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest import sources
from ingest.errors import ArchiveInvalid, ChecksumMismatch, SourceUnavailable, UsageError
from ingest.sources import archive, cache, parts
from ingest.sources.address import Source
from tests.fixtures import publisher as answers
from tests.fixtures.publisher import Handler, Publisher, serving

BODY = b"level 0, level 1, level 2 " * 100


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A publisher of one file."""
    with serving(BODY) as found:
        yield found


def bring(publisher: Publisher, tmp_path: Path) -> cache.Fetched:
    """Fetch the publisher's file into the cache."""
    return cache.fetch(Source(publisher.url()), tmp_path / "downloads")


def test_an_unchanged_file_is_not_downloaded_again(publisher: Publisher, tmp_path: Path) -> None:
    first = bring(publisher, tmp_path)
    again = bring(publisher, tmp_path)
    assert (again.path, again.sha256, again.was_cached) == (first.path, first.sha256, True)
    assert len(publisher.downloads()) == 1
    assert publisher.asked[-1].headers["If-None-Match"] == publisher.etag


def test_a_changed_file_is_downloaded_anew(publisher: Publisher, tmp_path: Path) -> None:
    first = bring(publisher, tmp_path)
    publisher.body, publisher.etag = BODY + b"level 3", '"2"'
    again = bring(publisher, tmp_path)
    assert again.path.read_bytes() == BODY + b"level 3"
    assert not again.was_cached
    assert again.sha256 != first.sha256


def test_a_file_without_validators_is_downloaded_every_time(publisher: Publisher, tmp_path: Path) -> None:
    publisher.etag = ""
    bring(publisher, tmp_path)
    publisher.body = BODY[:-1]  # nothing but its bytes tells that it changed
    assert bring(publisher, tmp_path).path.read_bytes() == BODY[:-1]


def date_of(body: bytes) -> str:
    """Return when a file was last changed, as its server says."""
    return f"Wed, 25 Nov 2026 12:{len(body) // 60 % 60:02}:{len(body) % 60:02} GMT"


@pytest.fixture
def dated(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """The publisher, without ETags: its answers say when the file was last changed."""
    reply = Handler.reply

    def with_date(handler: Handler, status: int, body: bytes = b"", **values: Any) -> None:
        headers = {"Last-Modified": date_of(publisher.body)} | (values.pop("headers", None) or {})
        reply(handler, status, body, headers=headers, **values)

    def begin(handler: Handler) -> int:
        if handler.headers.get("If-Range") not in (None, date_of(publisher.body)):
            return 0
        return int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])

    def do_head(handler: Handler) -> None:
        handler._note()
        is_known = handler.headers.get("If-Modified-Since") == date_of(publisher.body)
        handler.reply(304 if is_known else 200, length=len(publisher.body))

    publisher.etag = ""
    for name, method in (("reply", with_date), ("begin", begin), ("do_HEAD", do_head)):
        monkeypatch.setattr(Handler, name, method)
    return publisher


def test_a_file_with_a_date_and_no_etag_is_downloaded_once(dated: Publisher, tmp_path: Path) -> None:
    bring(dated, tmp_path)
    assert bring(dated, tmp_path).was_cached
    assert len(dated.downloads()) == 1
    dated.body += b"level 3"
    assert bring(dated, tmp_path).path.read_bytes() == dated.body


def test_a_transfer_is_resumed_on_condition_that_the_date_is_the_same(dated: Publisher, tmp_path: Path) -> None:
    dated.next_answers = [answers.breaks_off_after(1000)]
    assert bring(dated, tmp_path).path.read_bytes() == BODY
    assert dated.downloads()[1].headers["Range"] == "bytes=1000-"
    assert dated.downloads()[1].headers["If-Range"] == date_of(BODY)


def test_a_part_of_another_date_is_not_put_behind_the_first(dated: Publisher, tmp_path: Path) -> None:
    def of_another_date(handler: Handler) -> None:
        span = f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"
        headers = {"Content-Range": span, "Last-Modified": date_of(b"")}
        handler.reply(206, bytes(len(BODY) - 1000), headers=headers)

    dated.next_answers = [answers.breaks_off_after(1000), of_another_date]
    assert bring(dated, tmp_path).path.read_bytes() == BODY


def test_the_file_of_another_address_is_another_file(publisher: Publisher, tmp_path: Path) -> None:
    first = bring(publisher, tmp_path)
    publisher.body = b"another"
    other = cache.fetch(Source(publisher.url("other/gadm.zip")), tmp_path / "downloads")
    assert other.path.read_bytes() == b"another"
    assert first.path.read_bytes() == BODY


def test_a_version_that_another_task_has_verified_is_not_asked_for_again(publisher: Publisher, tmp_path: Path) -> None:
    first = bring(publisher, tmp_path)
    count = len(publisher.asked)
    again = cache.fetch(Source(publisher.url()), tmp_path / "downloads", known_sha256=first.sha256)
    assert again.path == first.path
    assert len(publisher.asked) == count


def test_a_source_that_was_brought_before_is_found_without_a_request(publisher: Publisher, tmp_path: Path) -> None:
    source = Source(publisher.url("gadm.gpkg"))
    first = sources.bring([source], tmp_path)
    publisher.asked.clear()
    again = sources.bring([source], tmp_path, first.fetched.sha256)
    assert (again.path, publisher.asked) == (first.path, [])


def test_a_host_with_an_older_version_in_its_cache_brings_the_one_that_another_task_has_verified(
    publisher: Publisher, tmp_path: Path
) -> None:
    bring(publisher, tmp_path)
    publisher.body, publisher.etag = BODY + b"level 3", '"2"'
    verified = hashlib.sha256(publisher.body).hexdigest()
    fetched = cache.fetch(Source(publisher.url()), tmp_path / "downloads", known_sha256=verified)
    assert (fetched.sha256, fetched.path.read_bytes()) == (verified, publisher.body)


def test_a_server_that_answers_no_head_is_read_all_the_same(publisher: Publisher, tmp_path: Path) -> None:
    publisher.has_head = False
    assert cache.version_of(Source(publisher.url())) is None
    bring(publisher, tmp_path)
    assert bring(publisher, tmp_path).path.read_bytes() == BODY


def test_the_identity_of_a_remote_file_changes_with_the_file(publisher: Publisher) -> None:
    source = Source(publisher.url())
    before = cache.version_of(source)
    assert before == cache.version_of(source)
    publisher.etag = '"2"'
    assert cache.version_of(source) != before
    assert not publisher.downloads()


def test_a_remote_file_without_validators_has_no_identity(publisher: Publisher) -> None:
    publisher.etag = ""
    assert cache.version_of(Source(publisher.url())) is None


def test_the_identity_of_a_folder_changes_with_any_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "gadm41_TGO_0.shp"
    file.write_bytes(b"1")
    before = cache.version_of(Source(str(tmp_path)))
    assert before == cache.version_of(Source(str(tmp_path)))
    file.write_bytes(b"12")
    assert cache.version_of(Source(str(tmp_path))) != before


def test_a_local_file_is_read_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "my gadm.gpkg"
    path.write_bytes(BODY)
    for location in (str(path), f"file://{str(path).replace(' ', '%20')}"):
        fetched = cache.fetch(Source(location), tmp_path / "downloads")
        assert (fetched.path, fetched.bytes, fetched.was_cached) == (path, len(BODY), True)
    assert not (tmp_path / "downloads").exists()


def test_the_checksum_of_a_local_file_is_verified_too(tmp_path: Path) -> None:
    path = tmp_path / "gadm.gpkg"
    path.write_bytes(BODY)
    with pytest.raises(ChecksumMismatch):
        cache.fetch(Source.parse(f"{path}#sha256={'a' * 64}"), tmp_path / "downloads")


def test_the_checksum_of_a_folder_depends_on_names_and_content(tmp_path: Path) -> None:
    sums = set()
    for name, content in (("a.shp", b"1"), ("b.shp", b"1"), ("b.shp", b"2")):
        folder = tmp_path / f"{name}{content!r}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        sums.add(parts.checksum(folder))
    assert len(sums) == 3


@pytest.mark.parametrize(
    "location", ["ftp://host/gadm.zip", "s3://bucket/gadm.zip", "/vsicurl/http://host/x", "no-such.gpkg"]
)
def test_other_schemes_and_missing_files_are_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(SourceUnavailable):
        cache.fetch(Source(location), tmp_path)
    with pytest.raises(SourceUnavailable):
        cache.version_of(Source(location))


@pytest.mark.parametrize(
    ("location", "public"),
    [
        ("https://host.org:8443/a/gadm.zip?sig=1#x", "https://host.org:8443/a/gadm.zip"),
        ("http://host/gadm.zip", "http://host/gadm.zip"),
        ("http://[::1]:80/gadm.zip", "http://[::1]:80/gadm.zip"),
        ("http://host:not-a-port/gadm.zip", "http://host:not-a-port/gadm.zip"),
        ("/data/gadm.zip?x", "/data/gadm.zip?x"),
    ],
)
def test_the_public_form_of_a_location_has_no_query(location: str, public: str) -> None:
    assert Source.parse(location).public == public


@pytest.mark.parametrize(
    "text", ["x.zip#sha256=", "x.zip#sha256=123", f"x.zip#sha256={'g' * 64}", "http://[::1/gadm.zip"]
)
def test_a_checksum_or_an_address_that_is_none_is_a_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError):
        Source.parse(text)


def test_a_truncated_download_that_no_server_admits_is_brought_again(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.says_length(700)]
    fetched = cache.fetch(Source(publisher.url()), tmp_path / "downloads")
    assert fetched.bytes == 700
    with pytest.raises(ArchiveInvalid):
        archive.unpack(fetched, tmp_path)
    assert bring(publisher, tmp_path).path.read_bytes() == BODY
