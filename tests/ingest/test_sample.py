"""The bundled sample is what its checksums say, and its second dataset is what TIGER/Line's entry expects."""

from __future__ import annotations

import hashlib

import pyogrio

from ingest import catalog
from tests.conftest import ROOT

SAMPLE = ROOT / "sample"


def test_every_file_of_the_sample_has_the_checksum_that_is_kept_beside_it() -> None:
    lines = (SAMPLE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    kept = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in SAMPLE.glob("*.zip")} == kept


def test_the_sample_of_open_data_has_states_and_counties_with_the_columns_of_tiger_line() -> None:
    dataset = catalog.get("tiger")
    release = dataset.release("sample")
    (file,) = catalog.urls(dataset, release)
    found = {}
    for name, _ in pyogrio.list_layers(f"/vsizip/{file}"):
        facts, table = pyogrio.read_arrow(f"/vsizip/{file}", layer=name)
        level = release.level_of(name)
        required = {column.source[0] for column in dataset.table(level).columns if column.required}
        assert required <= set(table.column_names), name
        assert "4269" in facts["crs"]
        found[level] = table
    states, counties = set(found[1]["GEOID"].to_pylist()), found[2].to_pylist()
    assert (len(states), len(counties)) == (56, 3230)
    assert {county["STATEFP"] for county in counties} == states
    assert [county for county in counties if county["GEOID"] != county["STATEFP"] + county["COUNTYFP"]] == []
    names = {county["GEOID"]: county["NAMELSAD"] for county in counties}
    assert [names[code] for code in ("24005", "24510", "22071", "66010", "32510")] == [
        *("Baltimore County", "Baltimore city", "Orleans Parish", "Guam", "Carson City")
    ]
