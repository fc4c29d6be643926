"""A file that cannot be had at its own address is taken from a mirror; the ledger says which address gave it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest import catalog
from ingest.errors import ChecksumMismatch, SourceInterrupted, SourceUnavailable
from ingest.ledger import Ledger, Request
from ingest.settings import Settings
from ingest.sources import cache, http, mirrors
from ingest.sources.address import Source
from tests.fixtures import boundaries
from tests.fixtures import publisher as answers
from tests.fixtures.publisher import Publisher, serving
from tests.ingest.conftest import Pipeline

BODY = b"the file" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
MakeRequest = Callable[..., Request]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """The publisher of the file."""
    with serving(BODY) as found:
        yield found


@pytest.fixture
def mirror() -> Iterator[Publisher]:
    """A mirror of it."""
    with serving(BODY) as found:
        found.etag = '"of the mirror"'
        yield found


def unreachable() -> str:
    """Return an address at which nobody answers."""
    return "http://127.0.0.1:1/gadm.zip"


@pytest.mark.parametrize("code", [403, 404, 503])
def test_a_file_that_the_publisher_does_not_give_is_taken_from_the_mirror(
    publisher: Publisher, mirror: Publisher, tmp_path: Path, code: int
) -> None:
    publisher.next_answers = [answers.status(code)] * http.ATTEMPTS
    source, fetched = mirrors.fetch_first([Source(publisher.url()), Source(mirror.url())], tmp_path)
    assert source.location == mirror.url()
    assert fetched.path.read_bytes() == BODY
    assert len(publisher.asked) == (http.ATTEMPTS if code == 503 else 1)


def test_mirrors_are_tried_in_their_order(publisher: Publisher, mirror: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.status(404)]
    addresses = [unreachable(), publisher.url(), mirror.url()]
    source, _ = mirrors.fetch_first([Source(address) for address in addresses], tmp_path)
    assert source.location == mirror.url()
    assert len(publisher.asked) == 1


def test_a_mirror_is_left_alone_as_long_as_the_publisher_answers(
    publisher: Publisher, mirror: Publisher, tmp_path: Path
) -> None:
    source, _ = mirrors.fetch_first([Source(publisher.url()), Source(mirror.url())], tmp_path)
    assert source.location == publisher.url()
    assert not mirror.asked


def test_a_mirror_cannot_pass_off_another_file(mirror: Publisher, tmp_path: Path) -> None:
    mirror.body = BODY + b"!"
    sources = [Source(unreachable(), SHA256), Source(mirror.url(), SHA256)]
    with pytest.raises(ChecksumMismatch, match=SHA256):
        mirrors.fetch_first(sources, tmp_path)


def test_a_wrong_file_at_the_publishers_is_told_and_no_mirror_hides_it(
    publisher: Publisher, mirror: Publisher, tmp_path: Path
) -> None:
    publisher.body = BODY + b"!"
    with pytest.raises(ChecksumMismatch):
        mirrors.fetch_first([Source(publisher.url(), SHA256), Source(mirror.url(), SHA256)], tmp_path)
    assert not mirror.asked


def test_when_no_address_gives_the_file_each_says_why(publisher: Publisher, mirror: Publisher, tmp_path: Path) -> None:
    publisher.next_answers, mirror.next_answers = [answers.status(404)], [answers.status(410)]
    with pytest.raises(SourceUnavailable, match=r"answered 404\..*answered 410\.") as caught:
        mirrors.fetch_first([Source(publisher.url()), Source(mirror.url())], tmp_path)
    assert not isinstance(caught.value, SourceInterrupted)


def test_when_one_address_may_give_it_later_the_fault_may_pass(publisher: Publisher, tmp_path: Path) -> None:
    publisher.next_answers = [answers.status(404)]
    with pytest.raises(SourceInterrupted, match="answered 404"):
        mirrors.fetch_first([Source(publisher.url()), Source(unreachable())], tmp_path)


def test_a_file_is_known_again_at_the_mirror_that_answers(mirror: Publisher) -> None:
    found = mirrors.version_of([Source(unreachable()), Source(mirror.url())])
    assert json.loads(found or "")[:2] == [mirror.url(), '"of the mirror"']


def test_the_address_that_a_file_came_from_is_tried_first(request_of: MakeRequest) -> None:
    request = request_of("gadm", "http://a/x.zip", mirrors=(("http://b/x.zip", "http://c/x.zip"),))
    first = Source.parse(request.sources[0])
    order = [source.location for source in mirrors.candidates(first, request.mirrors, 0)]
    assert order == ["http://a/x.zip", "http://b/x.zip", "http://c/x.zip"]
    order = [source.location for source in mirrors.candidates(first, request.mirrors, 0, came_from="http://c/x.zip")]
    assert order == ["http://c/x.zip", "http://a/x.zip", "http://b/x.zip"]


def test_a_run_whose_publisher_is_away_is_loaded_from_the_mirror_and_the_ledger_says_so(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    path = boundaries.write_shapefile_zip(tmp_path / "x_shp.zip", boundaries.levels({"AAA": 1}))
    with serving(path.read_bytes()) as mirror:
        address = mirror.url("x_shp.zip")
        run_id = pipeline.run(unreachable(), mirrors=((address,),))
    assert pipeline.state(run_id) == ("published", None)
    assert pipeline.rows("gadm_adm_1") == 4
    (file,) = pipeline.ledger.files(run_id)
    assert (file.source, file.state) == (address, "fetched")
    assert pipeline.ledger.run(run_id).source == unreachable()


def test_another_host_brings_the_file_from_where_it_came_from(
    pipeline: Pipeline, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 1}))
    create_slices = Ledger.create_slices

    def on_another_host(*arguments: Any) -> bool:
        shutil.rmtree(cache.downloads_in(settings.home))
        return create_slices(*arguments)

    with serving(path.read_bytes()) as publisher, serving(path.read_bytes()) as mirror:
        publisher.next_answers = [answers.status(404)]
        monkeypatch.setattr(Ledger, "create_slices", on_another_host)
        run_id = pipeline.run(publisher.url("gadm.gpkg"), mirrors=((mirror.url("gadm.gpkg"),),))
        assert pipeline.state(run_id) == ("published", None)
        assert len(publisher.asked) == 1
        assert len(mirror.downloads()) == 2


def test_every_mirror_of_the_catalog_is_the_same_file_elsewhere() -> None:
    found = 0
    for dataset in catalog.datasets().values():
        for name, entry in dataset._releases.items():
            for own, others in (("url", "mirrors"), ("country_url", "country_mirrors")):
                for mirror in entry.get(others, ()):
                    found += 1
                    assert mirror.startswith("https://"), name
                    assert mirror != entry[own]
                    assert mirror.rpartition("/")[2] == entry[own].rpartition("/")[2]
    assert found == 2


def test_mirrors_of_a_release_come_with_its_checksum_and_those_of_countries_with_their_code(
    catalog_with: Callable[[str], None],
) -> None:
    text = (Path(catalog.__file__).parent / "catalog.yaml").read_text(encoding="utf-8")
    marked = text.replace("        mirrors:\n", f"        sha256: {SHA256}\n        mirrors:\n")
    catalog_with(marked)
    gadm = catalog.get("gadm")
    ((own, mirror),) = catalog.addresses(gadm, gadm.release("3.6"))
    assert own.endswith(f"gadm36_levels_gpkg.zip#sha256={SHA256}")
    assert mirror == f"https://biogeo.ucdavis.edu/data/gadm3.6/gadm36_levels_gpkg.zip#sha256={SHA256}"
    togo, ghana = catalog.addresses(gadm, gadm.release("3.6"), countries=("TGO", "GHA"))
    assert togo[1] == "https://biogeo.ucdavis.edu/data/gadm3.6/gpkg/gadm36_TGO_gpkg.zip"
    assert ghana[1].endswith("gadm36_GHA_gpkg.zip")


def test_a_request_has_the_mirrors_of_its_release_and_a_source_of_ones_own_has_none() -> None:
    from tests.ingest.test_requests import requests

    world, own = requests(releases={"gadm": ["3.6"]})[0], requests(sources={"gadm": ["/a.gpkg"]})[0]
    assert world.mirrors == (("https://biogeo.ucdavis.edu/data/gadm3.6/gadm36_levels_gpkg.zip",),)
    assert own.mirrors == requests()[0].mirrors == ()


def test_mirrors_are_no_part_of_what_a_run_comes_to(request_of: MakeRequest) -> None:
    request = request_of("gadm", "http://a/x.zip", mirrors=(("http://b/x.zip",),))
    assert Request.from_json(request.to_json()) == request
    assert request.identity(["1"]) == replace(request, mirrors=()).identity(["1"])
    assert '"mirrors"' not in replace(request, mirrors=()).to_json()


def test_the_command_finds_an_unchanged_file_at_the_mirror(
    ledger: Ledger, settings: Settings, mirror: Publisher, request_of: MakeRequest
) -> None:
    from ingest.pipeline import runs as loading  # not above: it opens the queue of the environment

    request = request_of("gadm", unreachable(), mirrors=((mirror.url(),),))
    assert "of the mirror" in (loading._identity(settings, request) or "")
