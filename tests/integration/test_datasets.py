"""Several datasets in one warehouse: each is loaded, built and asked by itself, and none changes what others show.

On PostgreSQL, three roles do it, and the first build of a dataset is the transformer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from admin_boundaries.duckdb_spatial import load_spatial
from tests.conftest import ROOT
from tests.fixtures import boundaries, publishers
from tests.integration.conftest import NewWarehouse, Warehouse
from tests.integration.test_rights import LOADER, READER, TRANSFORMER, as_role

pytestmark = [pytest.mark.servers, pytest.mark.slow]

ZONES = ROOT / "sample" / "timezones-with-oceans-now.shapefile.zip"
OPEN = "naturalearth"
QUICK = ("--exclude-resource-type", "unit_test", "--exclude", "tag:derived")
WRITERS: dict[str, Callable[[Path], Sequence[Path]]] = {OPEN: publishers.write_naturalearth}


@dataclass(frozen=True)
class Place:
    """A warehouse with GADM and an open dataset, as those see it who load, build and read."""

    loader: Warehouse
    transformer: Warehouse
    reader: Warehouse
    files: Mapping[str, Sequence[Path]]

    @property
    def is_embedded(self) -> bool:
        return self.loader.env["WAREHOUSE_TARGET"] == "embedded"

    def load(self, dataset: str) -> None:
        """Load a dataset anew."""
        sources = (f"--source={path}" for path in self.files[dataset])
        self.loader.ingest(dataset, *sources, "--force")

    def build(self, dataset: str, *options: str) -> None:
        """Run ``dbt build`` for a dataset."""
        replace(self.transformer, env={**self.transformer.env, "BOUNDARIES": dataset}).dbt("build", *options)

    @contextmanager
    def connect(self, dataset: str) -> Iterator[Any]:
        """Open the marts of a dataset as one who reads."""
        if self.is_embedded:
            name = "warehouse" if dataset == "gadm" else f"warehouse_{dataset}"
            with duckdb.connect(str(self.reader.home / f"{name}.duckdb"), read_only=True) as embedded:
                load_spatial(embedded)
                yield embedded
        else:
            assert self.reader.dsn is not None
            with psycopg.connect(self.reader.dsn) as postgres:
                yield postgres

    def ask(self, dataset: str, query: str) -> list[tuple[Any, ...]]:
        """Ask the marts of a dataset; ``{marts}`` is their schema."""
        with self.connect(dataset) as connection:
            marts = "marts" if dataset == "gadm" else f"marts_{dataset}"
            rows: list[tuple[Any, ...]] = connection.execute(query.format(marts=marts)).fetchall()
            return rows

    def stamp(self, dataset: str) -> list[tuple[Any, ...]]:
        """Return which build the marts of a dataset are of, and what of."""
        return self.ask(dataset, "select dataset, build_id, run_id from {marts}.marts_meta order by 1")

    def schemas(self) -> set[str]:
        """Return the schemas that builds have made."""
        query = "select nspname::text from pg_namespace where nspname ~ '^(staging|intermediate|marts)'"
        return {name for (name,) in self.loader.query(query)}


@pytest.fixture(scope="module", params=["postgres", "embedded"])
def place(
    request: pytest.FixtureRequest, new_warehouse: NewWarehouse, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    warehouse, folder = new_warehouse(), tmp_path_factory.mktemp("publishers")
    warehouse.env["WAREHOUSE_TARGET"] = request.param
    roles = (LOADER, TRANSFORMER, READER)
    if request.param == "postgres":
        warehouse.ingest("init")
    loader, transformer, reader = (
        as_role(warehouse, role) if request.param == "postgres" else warehouse for role in roles
    )
    files = {"gadm": [boundaries.write_levels_gpkg(folder / "gadm.gpkg")]}
    files |= {dataset: list(write(folder / dataset)) for dataset, write in WRITERS.items()}
    found = Place(loader, transformer, reader, files)
    loader.ingest("timezones", f"--source={ZONES}")
    for dataset in files:
        found.load(dataset)
        found.build(dataset, *(QUICK if dataset == "gadm" else ()))
    return found


def test_each_dataset_has_its_own_units(place: Place) -> None:
    assert place.ask("gadm", "select gid from {marts}.admin_level_0 order by 1")[0] == ("AAA",)
    assert place.ask(OPEN, "select gid, parent_gid from {marts}.admin_level_1 order by 1") == [
        *(("QQA-100", "QQA"), ("QQA-101", "QQA"), ("QQB-100", "QQB"), ("QQB-101", "QQB")),
    ]
    for level in range(2, 6):
        assert place.ask(OPEN, f"select count(*) from {{marts}}.admin_level_{level}") == [(0,)]


def test_units_say_what_may_be_done_with_them(place: Place) -> None:
    rights = "select distinct licence, attribution, source_name from {marts}.admin_level_0"
    ((licence, attribution, source_name),) = place.ask(OPEN, rights)
    assert licence.startswith("Public domain")
    assert "Natural Earth" in attribution
    assert source_name == "Natural Earth"
    ((licence, _, source_name),) = place.ask("gadm", rights)
    assert "may not be redistributed" in licence
    assert source_name == "GADM"


@pytest.mark.parametrize("dataset", ["gadm", OPEN])
def test_a_point_is_in_the_units_of_the_dataset_that_is_asked(place: Place, dataset: str) -> None:
    query = "select gid, point_lon, point_lat from {marts}.admin_level_1 order by 1 limit 1"
    ((gid, lon, lat),) = place.ask(dataset, query)
    ((found,),) = place.ask(dataset, f"select gid_1 from {{marts}}.locate({lon}, {lat})")
    assert found == gid


@pytest.mark.parametrize(("built", "other"), [("gadm", OPEN), (OPEN, "gadm")])
def test_a_build_of_one_dataset_leaves_the_marts_of_another_as_they_are(place: Place, built: str, other: str) -> None:
    before, stamp = place.stamp(other), place.stamp(built)
    place.load(built)
    place.build(built, "--exclude-resource-type", "test", "unit_test", "--exclude", "tag:derived")
    assert place.stamp(other) == before
    assert place.stamp(built) != stamp
    assert {dataset for dataset, _, _ in place.stamp(built)} == {built, "timezones"}
    assert place.ask(other, "select status from {marts}.locate(0.1, 89.9)") != []
    if not place.is_embedded:
        mart = "marts" if built == "gadm" else f"marts_{built}"
        assert [name for name in place.schemas() if name.startswith(f"{mart}_edition")] != []
        assert [name for name in place.schemas() if name.endswith("_next")] == []


def test_what_another_dataset_brought_leaves_init_nothing_to_do(place: Place) -> None:
    if place.is_embedded:
        assert not (place.loader.home / "warehouse_gadm.duckdb").exists()
        return
    admin = replace(place.loader, env={**place.loader.env, "PGUSER": "warehouse"})
    assert "nothing to do" in admin.ingest("init").stdout


def test_a_dataset_without_staging_models_is_refused(place: Place) -> None:
    environment = {**place.transformer.env, "BOUNDARIES": "timezones"}
    printed = replace(place.transformer, env=environment).dbt("build", expect=2).stdout
    assert "stg_timezones__adm_0" in printed
