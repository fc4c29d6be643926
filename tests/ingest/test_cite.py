"""What is loaded is cited by its release and licences, in words or as BibTeX; the software is cited by CITATION.cff."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import yaml

from ingest import __version__, catalog
from ingest.settings import Settings
from tests.conftest import ROOT
from tests.fixtures import marts as built
from tests.ingest.test_cli import run_apart

Ingest = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ingest(settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Return a function that runs ``python -m ingest`` in this process, on marts of two countries of GADM 4.1."""
    built.write(settings.home)
    built.write_meta(settings.home, {"gadm": ("run-a", "4.1"), "timezones": ("run-t", "2026c")})
    return lambda *arguments: run_apart(*arguments, capsys=capsys, monkeypatch=monkeypatch)


def test_every_release_is_cited_with_its_licences_and_whom_to_credit(ingest: Ingest) -> None:
    code, printed, _ = ingest("cite")
    assert code == 0
    assert "release 4.1, loaded on 2026-11-25" in printed
    assert "cite     Global Administrative Areas (2022). GADM database" in printed
    assert "licence  Open licence of BAA (5 units)\n  credit   Maps of BAA\n" in printed
    assert "by timezone-boundary-builder, release 2026c, available under the Open Database License." in printed
    assert f"licence  {catalog.get('timezones').licence} (1 time zones)" in printed


def test_bibtex_has_an_entry_for_each_release_and_escapes_what_tex_reads(ingest: Ingest) -> None:
    printed = ingest("cite", "--format", "bibtex")[1]
    assert re.findall(r"^@misc\{(\w+),$", printed, re.MULTILINE) == ["gadm_4_1", "timezones_2026c"]
    assert "  urldate = {2026-11-25},\n" in printed
    assert "Licence: Open licence of AAA; Open licence of BAA" in printed
    for entry in printed.split("@misc")[1:]:
        plain = re.sub(r"\\[&%$#_{}]", "", entry)
        assert plain.count("{") == plain.count("}")
        assert not re.search(r"[&%$#_]", plain.partition(",")[2])


def test_a_dataset_that_the_marts_hold_nothing_of_is_not_cited(ingest: Ingest, settings: Settings) -> None:
    built.write_meta(settings.home, {"gadm": ("run-a", "3.6"), "timezones": None})
    printed = ingest("cite")[1]
    assert "Global Administrative Areas (2018)" in printed
    assert "timezone" not in printed


@pytest.mark.parametrize("name", catalog.datasets())
def test_every_dataset_and_release_has_a_citation_without_a_gap(name: str) -> None:
    dataset = catalog.get(name)
    for release in (*dataset.named_releases, "2031"):
        cited = dataset.cited(release)
        assert cited != dataset.title
        assert "{" not in cited


def test_the_citation_of_the_software_is_complete_and_of_this_version() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(found)  # which the format requires
    assert set(found) <= {
        *("cff-version", "message", "title", "authors", "type", "version", "license", "keywords", "abstract"),
    }
    assert (found["cff-version"], found["type"], found["version"]) == ("1.2.0", "software", __version__)
    assert found["license"] == "Apache-2.0"
    assert all(set(author) in ({"name"}, {"given-names", "family-names"}) for author in found["authors"])
    assert all(isinstance(word, str) for word in found["keywords"])


def test_the_data_licences_and_the_catalog_cite_in_the_same_words() -> None:
    text = " ".join(re.sub(r"[<>]", "", (ROOT / "DATA_LICENSES.md").read_text(encoding="utf-8")).split())
    for name, release in (("gadm", "4.1"), ("timezones", "2026c"), ("geoboundaries", "")):
        assert catalog.get(name).cited(release) in text
