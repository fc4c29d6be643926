"""The bundled sample is what its checksums say, and its open data, of both years, what TIGER/Line's entry expects."""

from __future__ import annotations

import hashlib
from functools import cache

import pyarrow as pa
import pyogrio
import pytest

from ingest import catalog
from tests.conftest import ROOT

SAMPLE = ROOT / "sample"
EDITIONS = {"sample": 3230, "sample-2023": 3232}  # counties


@cache
def edition(name: str) -> dict[int, pa.Table]:
    """Return the layers of a release of TIGER/Line's sample, by level."""
    release = catalog.get("tiger").release(name)
    (file,) = catalog.urls(catalog.get("tiger"), release)
    found: dict[int, pa.Table] = {}
    for layer, _ in pyogrio.list_layers(f"/vsizip/{file}"):
        level = release.level_of(layer)
        assert level is not None
        facts, found[level] = pyogrio.read_arrow(f"/vsizip/{file}", layer=layer)
        assert "4269" in facts["crs"]
    return found


def test_every_file_of_the_sample_has_the_checksum_that_is_kept_beside_it() -> None:
    lines = (SAMPLE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    kept = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in SAMPLE.glob("*.zip")} == kept


@pytest.mark.parametrize("name", EDITIONS)
def test_the_sample_of_open_data_has_states_and_counties_with_the_columns_of_tiger_line(name: str) -> None:
    dataset = catalog.get("tiger")
    for level, table in edition(name).items():
        required = {column.source[0] for column in dataset.table(level).columns if column.required}
        assert required <= set(table.column_names)
    states, counties = set(edition(name)[1]["GEOID"].to_pylist()), edition(name)[2].to_pylist()
    assert (len(states), len(counties)) == (56, EDITIONS[name])
    assert {county["STATEFP"] for county in counties} == states
    assert [county for county in counties if county["GEOID"] != county["STATEFP"] + county["COUNTYFP"]] == []
    names = {county["GEOID"]: county["NAMELSAD"] for county in counties}
    assert [names[code] for code in ("24005", "24510", "22071", "66010", "32510")] == [
        *("Baltimore County", "Baltimore city", "Orleans Parish", "Guam", "Carson City")
    ]


def test_the_second_edition_has_the_regions_of_connecticut_and_the_two_halves_of_valdez_cordova() -> None:
    before, after = ({row["GEOID"]: row for row in edition(name)[2].to_pylist()} for name in EDITIONS)
    assert sorted(before.keys() - after.keys()) == ["02261", *(f"090{number:02}" for number in range(1, 16, 2))]
    assert sorted(after.keys() - before.keys()) == [
        "02063",
        "02066",
        *(f"09{number}" for number in range(110, 191, 10)),
    ]
    assert [after[code]["NAMELSAD"] for code in ("02063", "09190")] == [
        *("Chugach Census Area", "Western Connecticut Planning Region")
    ]
    shared = before.keys() & after.keys()
    assert [code for code in shared if before[code]["NAMELSAD"] != after[code]["NAMELSAD"]] == []
    assert sum(before[code]["wkb_geometry"] == after[code]["wkb_geometry"] for code in shared) == 682
