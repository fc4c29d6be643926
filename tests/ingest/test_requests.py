"""Which options of the command go together, and what they come to."""

from __future__ import annotations

from typing import Any

import pytest

from ingest import catalog
from ingest.catalog import Release
from ingest.errors import UsageError
from ingest.ledger import Request


def requests(*names: str, **options: Any) -> list[Request]:
    """Turn options into requests, with the command's defaults for the rest."""
    datasets = names or ("gadm",)
    none: dict[str, list[str]] = {name: [] for name in datasets}
    fixed: dict[str, Any] = {"countries": (), "levels": None, "engine": "sedonadb", "variant": "now", "oceans": True}
    for option in ("releases", "sources"):
        fixed[option] = {**none, **options.pop(option, {})}
    from ingest.pipeline import runs as loading

    return loading.requests(datasets, **{**fixed, **options})


def test_no_option_means_the_world_of_the_newest_release() -> None:
    (request,) = requests()
    assert (request.dataset, request.release, request.scope, request.variant) == ("gadm", "4.1", "world", None)
    assert request.sources == ("https://geodata.ucdavis.edu/gadm/gadm4.1/gadm_410-levels.zip",)
    assert request.levels is None


def test_both_datasets_get_a_request_each() -> None:
    gadm, zones = requests("gadm", "timezones", levels=(0, 1), countries=("TGO",), engine="geopandas")
    assert (gadm.dataset, gadm.scope, gadm.levels) == ("gadm", "countries", (0, 1))
    assert (zones.dataset, zones.scope, zones.levels, zones.variant) == ("timezones", "world", None, "now, with oceans")
    assert {gadm.engine, zones.engine} == {"geopandas"}


def test_a_variant_of_the_time_zones_is_noted_and_asked_for() -> None:
    (request,) = requests("timezones", variant="1970", oceans=False, releases={"timezones": ["2025b"]})
    assert request.variant == "1970, without oceans"
    assert request.sources[0].endswith("/2025b/timezones-1970.shapefile.zip")


def test_countries_are_a_source_each() -> None:
    (request,) = requests(countries=("TGO", "GHA"))
    assert request.scope == "countries"
    assert [source.rpartition("/")[2] for source in request.sources] == ["gadm41_TGO.gpkg", "gadm41_GHA.gpkg"]


def test_a_source_of_ones_own_is_never_the_whole_release() -> None:
    (request,) = requests(sources={"gadm": ["/a.gpkg", "http://host/b.zip"]})
    assert (request.scope, request.sources, request.release) == ("custom", ("/a.gpkg", "http://host/b.zip"), "4.1")


@pytest.mark.parametrize(
    ("dataset", "release", "file"),
    [
        ("gadm", "sample", "boundaries-levels.zip"),
        ("tiger", "sample", "tl_sample_us.zip"),
        ("tiger", "sample-2023", "tl_sample_us_2023.zip"),
    ],
)
def test_a_sample_is_never_the_whole_release(dataset: str, release: str, file: str) -> None:
    (request,) = requests(dataset, releases={dataset: [release]})
    assert (request.scope, request.release) == ("custom", release)
    assert request.sources[0].endswith(f"/sample/{file}")


def test_a_checksum_of_the_catalog_goes_with_its_file_only(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Release("4.1", "https://host/{release}.zip", "https://host/{iso3}.gpkg", (), sha256="ab" * 32)
    monkeypatch.setattr(catalog.Dataset, "release", lambda _self, _name: release)
    assert requests()[0].sources == (f"https://host/4.1.zip#sha256={'ab' * 32}",)
    assert requests(countries=("TGO",))[0].sources == ("https://host/TGO.gpkg",)
    assert requests(sources={"gadm": ["/a.gpkg"]})[0].sources == ("/a.gpkg",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"countries": ("TGO",), "sources": {"gadm": ["/a"]}}, "--country and --source exclude each other"),
        ({"releases": {"gadm": ["4.1", "3.6"]}}, "several releases: 4.1, 3.6"),
        ({"releases": {"gadm": ["9.9"]}}, "no release '9.9'"),
        ({"levels": (0, 6)}, "gadm has no level 6. Levels: 0-5"),
        ({"countries": ("TGO",), "releases": {"gadm": ["sample"]}}, "no per-country files"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        requests(**options)


def test_a_country_of_a_dataset_without_levels_is_refused() -> None:
    with pytest.raises(UsageError, match="--country applies only to datasets with levels"):
        requests("timezones", countries=("TGO",))


def test_a_dataset_that_is_not_known_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(UsageError, match="Did you mean 'gadm'"):
        requests("gdam")
