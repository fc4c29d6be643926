"""Several datasets in one warehouse: each is loaded, built and asked by itself, and none changes what others show.

On PostgreSQL, three roles do it, and the first build of a dataset is the transformer's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import h3.api.basic_int as h3
import psycopg
import pytest

from admin_boundaries.duckdb_spatial import load_spatial
from tests.conftest import ROOT
from tests.fixtures import boundaries, overture, publishers
from tests.integration import marts
from tests.integration.conftest import WITHOUT_DERIVED, WITHOUT_TESTS, NewWarehouse, Warehouse
from tests.integration.test_rights import LOADER, READER, TRANSFORMER, as_role

pytestmark = [pytest.mark.servers, pytest.mark.slow]

ZONES = ROOT / "sample" / "timezones-with-oceans-now.shapefile.zip"
BUILT = {
    "postgres": ("gadm", "geoboundaries", "overture", "tiger"),
    "embedded": ("geoboundaries", "overture", "tiger"),
}
TESTED = {("postgres", "tiger"), ("embedded", "overture")}  # built with tests: they take longer than the build
OPTIONAL = ("--vars", "{concordance: [geoboundaries, tiger], unit_cells: true}")  # tiger is built last


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

    def of(self, dataset: str, who: Warehouse | None = None) -> Warehouse:
        """Return the warehouse as it is with the marts of a dataset, for who reads or for somebody else."""
        who = who or self.reader
        return replace(who, env={**who.env, "BOUNDARIES": dataset})

    def build(self, dataset: str, *options: str) -> None:
        """Run ``dbt build`` for a dataset."""
        self.of(dataset, self.transformer).dbt("build", *options)

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
            schema = "marts" if dataset == "gadm" else f"marts_{dataset}"
            rows: list[tuple[Any, ...]] = connection.execute(query.format(marts=schema)).fetchall()
            return rows

    def stamp(self, dataset: str) -> list[tuple[Any, ...]]:
        """Return which build the marts of a dataset are of, and what of."""
        return self.ask(dataset, "select dataset, build_id, run_id from {marts}.marts_meta order by 1")

    def schemas(self) -> set[str]:
        """Return the schemas that builds have made."""
        query = "select nspname::text from pg_namespace where nspname ~ '^(staging|intermediate|marts)'"
        return {name for (name,) in self.loader.query(query)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sequence[Path]]:
    """Files of each dataset, in its publisher's schema."""
    folder = tmp_path_factory.mktemp("publishers")
    return {
        "gadm": [boundaries.write_levels_gpkg(folder / "gadm.gpkg")],
        "geoboundaries": publishers.write_geoboundaries(folder / "geoboundaries"),
        "overture": [overture.write_overture(folder / "overture")],
        "tiger": publishers.write_tiger(folder / "tiger"),
    }


@pytest.fixture(scope="module")
def places(new_warehouse: NewWarehouse, files: dict[str, Sequence[Path]]) -> dict[str, Place]:
    """A warehouse on each target, on PostgreSQL with GADM, and with those datasets that differ from it on both."""
    found = {}
    for target in ("postgres", "embedded"):
        warehouse = new_warehouse()
        warehouse.env["WAREHOUSE_TARGET"] = target
        loader = transformer = reader = warehouse
        if target == "postgres":
            warehouse.ingest("init")
            loader, transformer, reader = (as_role(warehouse, role) for role in (LOADER, TRANSFORMER, READER))
        datasets = {dataset: files[dataset] for dataset in BUILT[target]}
        found[target] = place = Place(loader, transformer, reader, datasets)
        place.loader.ingest("timezones", f"--source={ZONES}")
        for dataset in BUILT[target]:
            place.load(dataset)
            options = WITHOUT_DERIVED if (target, dataset) in TESTED else WITHOUT_TESTS
            place.build(dataset, *options, *(OPTIONAL if dataset == "tiger" else ()))
    return found


@pytest.fixture(params=["postgres", "embedded"])
def place(request: pytest.FixtureRequest, places: dict[str, Place]) -> Place:
    return places[request.param]


@pytest.mark.parametrize("dataset", BUILT["embedded"])
def test_a_dataset_has_the_same_rows_on_both_targets(dataset: str, places: dict[str, Place]) -> None:
    left, right = (places[target].of(dataset) for target in ("postgres", "embedded"))
    for table in marts.TABLES:
        if table not in marts.DERIVED:
            marts.assert_same(left, right, table)


def test_a_dataset_has_its_own_units_and_no_others(places: dict[str, Place]) -> None:
    units = "select gid, parent_gid from {marts}.admin_units where admin_level > 0 order by 1"
    assert ("AAA.1_1", "AAA") in places["postgres"].ask("gadm", units)
    for place in places.values():
        assert {("90", "USA"), ("91", "USA"), ("92", "USA"), ("93", "USA"), ("91001", "91")} < set(
            place.ask("tiger", units)
        )
        for level in (4, 5):
            assert place.ask("tiger", f"select count(*) from {{marts}}.admin_level_{level}") == [(0,)]


def test_where_the_publisher_names_no_parents_the_geometry_does(place: Place) -> None:
    query = (
        "select parents.name, units.name, units.parent_source from {marts}.admin_units as units "
        "inner join {marts}.admin_units as parents on units.parent_gid = parents.gid where units.admin_level = 2"
    )
    assert sorted(place.ask("geoboundaries", query)) == [
        *(("Lakeland", "Lakes", "geometry"), ("Lakeland", "Shore", "geometry")),
        *(("West Norvia", "Lower West", "geometry"), ("West Norvia", "Upper West", "geometry")),
    ]


def test_a_nation_that_no_file_has_is_the_union_of_its_states(place: Place) -> None:
    query = (
        "select nation.gid, nation.child_count, abs(nation.area_km2 - sum(states.area_km2)) < 1e-6, "
        "nation.west_lon > nation.east_lon from {marts}.admin_level_0 as nation "
        "inner join {marts}.admin_level_1 as states on nation.gid = states.parent_gid "
        "group by nation.gid, nation.child_count, nation.area_km2, nation.west_lon, nation.east_lon"
    )
    assert place.ask("tiger", query) == [("USA", 4, True, True)]
    counts = "select rows_in_file, rows_derived, rows_in_mart, is_balanced from {marts}.internal_level_counts"
    assert place.ask("tiger", f"{counts} where admin_level = 0") == [(0, 1, 1, True)]
    assert place.ask("tiger", "select count(*) from {marts}.admin_units where country_gid is null") == [(0,)]


def test_a_key_that_the_file_holds_in_parts_is_put_together(place: Place) -> None:
    ((units, with_parent),) = place.ask("tiger", "select count(*), count(parent_gid) from {marts}.admin_level_3")
    assert 0 < units == with_parent


def test_a_parent_may_lie_several_levels_above(place: Place) -> None:
    query = "select admin_level, gid, parent_gid, country_gid from {marts}.admin_units"
    norvia = {
        *((0, "norvia", None), (1, "west", "norvia"), (1, "lakeland", "norvia")),
        *((2, "lower", "west"), (2, "upper", "west"), (3, "parish", "lower"), (4, "village", "parish")),
        *((4, "shore", "lakeland"), (4, "lakes", "lakeland"), (5, "spot", "lakes")),
        *((5, unit, "shore") for unit in ("oldshore", "quay", "harbour")),
    }
    islands = {
        *((0, "islands", None), (1, "south", "islands"), (1, "north", "islands")),
        *((2, f"isle{number}", parent) for number, parent in enumerate(("south", "south", "north", "north"))),
    }
    assert set(place.ask("overture", query)) == {
        (*unit, country) for country, units in (("norvia", norvia), ("islands", islands)) for unit in units
    }
    lines = "select gid_1, gid_2, gid_3, gid_4 from {marts}.admin_level_5 where gid = 'spot'"
    assert place.ask("overture", lines) == [("lakeland", None, None, "lakes")]


def test_what_the_levels_cannot_show_is_reported(place: Place) -> None:
    query = (
        "select anomaly_type, coalesce(gid, ''), admin_level from {marts}.admin_anomalies "
        "where anomaly_type not in ('children_do_not_tile', 'unknown_code')"
    )
    assert sorted(place.ask("overture", query)) == [
        ("area_without_unit", "gone", 2),
        ("missing_area", "spot", 5),
        *(("parent_folded", unit, level) for unit, level in (("islands", 0), ("quay", 5), ("west", 1))),
        ("second_area", "lakeland", 1),
        ("territorial_area", "norvia", 0),
    ]
    counts = (
        "select rows_in_file, rows_merged, rows_moved, rows_in_mart, rows_set_aside from {marts}.internal_level_counts"
    )
    assert place.ask("overture", f"{counts} where admin_level = 4") == [(8, 3, -2, 3, 0)]
    assert place.ask("overture", f"{counts} where not is_balanced") == []


def test_a_unit_has_its_area_on_land_and_otherwise_its_point(place: Place) -> None:
    query = (
        "select gid, abs(max_lon - {}) < 1e-9, vertex_count is null, point_lon is null from {{marts}}.admin_level_{}"
    )
    land = max(unit.geometry.bounds[2] for unit in publishers.units(0)[:1])
    assert ("norvia", True, False, False) in place.ask("overture", query.format(land, 0))
    ((spot, *_), *_rest) = sorted(place.ask("overture", query.format(0, 5)), key=lambda row: not row[2])
    assert spot == "spot"
    assert ("spot", None, True, False) in place.ask("overture", query.format(0, 5))


def test_the_hash_of_a_unit_is_that_of_the_geometry_in_the_database(place: Place) -> None:
    wkb = "st_aswkb" if place.is_embedded else "st_asbinary"
    query = f"select gid, geom_hash, md5({wkb}(geom)) from {{{{marts}}}}.admin_level_{{}}"
    for dataset in ("overture", "tiger"):
        rows = [row for level in range(6) for row in place.ask(dataset, query.format(level))]
        other = {gid: (hash_, md5 is not None) for gid, hash_, md5 in rows if hash_ != md5}
        assert other == ({} if dataset == "overture" else {"USA": (None, True)})  # a union of what was loaded
        assert {gid for gid, hash_, _ in rows if hash_ is None} == {"spot" if dataset == "overture" else "USA"}
        hashes = "select gid, geom_hash from {marts}.admin_units"
        assert sorted(place.ask(dataset, hashes), key=str) == sorted((row[:2] for row in rows), key=str)


def test_a_point_where_no_child_lies_is_in_the_unit_itself(place: Place) -> None:
    query = "select status, gid, admin_level, gid_2, gid_3 from {{marts}}.locate({}, {})"
    for point, found in {
        (0.5, 0.5): ("one unit", "village", 4, "lower", "parish"),
        (1.5, 1.5): ("one unit", "parish", 3, "lower", "parish"),
        (3, 3): ("one unit", "lower", 2, "lower", None),
    }.items():
        assert place.ask("overture", query.format(*point)) == [found]


def test_codes_of_others_lead_to_units(places: dict[str, Place]) -> None:
    query = "select scheme, code from {{marts}}.admin_unit_codes where gid = '{}' order by 1"
    for place in places.values():
        assert place.ask("tiger", query.format("90")) == [("fips", "90"), ("geoid", "90")]
        assert place.ask("tiger", query.format("USA")) == [("iso_3166_1_alpha_2", "US"), ("iso_3166_1_alpha_3", "USA")]
        assert dict(place.ask("geoboundaries", query.format("QQA"))).keys() == {"shape_id"}
    # its file says NA
    assert places["postgres"].ask("gadm", "select count(*) from {marts}.admin_unit_codes") == [(0,)]


def test_a_code_that_iso_has_not_given_is_an_anomaly(place: Place) -> None:
    query = "select detail from {marts}.admin_anomalies where anomaly_type = 'unknown_code' and gid = 'QQA'"
    assert place.ask("geoboundaries", query) == [("iso_3166_1_alpha_3 does not have the code QQA",)]


def test_a_country_is_compared_with_what_iso_lists(place: Place) -> None:
    query = (
        "select unit_count, iso_subdivision_count, found_subdivision_count from {marts}.country_coverage {} order by 1"
    )
    assert place.ask("tiger", query.replace("{}", "where admin_level = 1")) == [(4, 57, 0)]  # no file has the codes
    ((rows, with_code),) = place.ask(
        "geoboundaries", "select count(*), count(country_code) from {marts}.country_coverage"
    )
    assert (rows, with_code) == (5, 0)


def test_units_of_two_datasets_that_are_the_same_place_are_partners(place: Place) -> None:
    query = (
        "select matches.gid, theirs.name, matches.method, matches.share_of_unit, matches.share_of_other "
        "from {marts}.unit_matches as matches inner join {marts}.admin_units as theirs on matches.gid = theirs.gid "
        "where matches.method <> 'none' order by 1"
    )
    assert place.ask("tiger", query) == [
        *(("90", "West Norvia", "name", 1, 1), ("90001", "Lower West", "name", 1, 1)),
        *(("90003", "Upper West", "name", 1, 1), ("91", "Lakeland", "name", 1, 1)),
        *(("91001", "Shore", "name", 1, 1), ("91003", "Lakes", "name", 1, 1)),
    ]
    assert place.ask("tiger", "select distinct other_dataset from {marts}.unit_matches") == [("geoboundaries",)]
    assert place.ask("geoboundaries", "select count(*) from {marts}.unit_matches") == [
        (0,)
    ]  # built without the variable


def test_units_are_compared_only_with_a_dataset_that_is_built(place: Place) -> None:
    concordances = {
        "concordance: [gadm, geoboundaries]": "names the dataset that is built, tiger, and one other, not gadm and",
        "concordance: [tiger, cod]": "There are no marts of cod to compare with those of tiger. Build them first: "
        "BOUNDARIES=cod dbt build",
    }
    for variable, message in concordances.items():
        printed = place.of("tiger", place.transformer).dbt("run", "-s", "unit_matches", "--vars", variable, expect=2)
        assert message in printed.stdout


def test_cells_are_the_same_on_both_targets_and_only_where_they_are_asked_for(places: dict[str, Place]) -> None:
    left, right = (places[target].of("tiger") for target in ("postgres", "embedded"))
    marts.assert_same(left, right, "admin_unit_cells")
    for place in places.values():
        assert marts.columns(place.of("geoboundaries"), "admin_unit_cells") == []


def test_points_are_joined_to_units_by_cells_as_the_documentation_says(place: Place) -> None:
    text = (ROOT / "docs/locate.md").read_text().partition("\n## Cells\n")[2]
    (query,) = re.findall("```sql\n(.+?)```", text, re.DOTALL)
    points = place.ask("tiger", "select gid, point_lon, point_lat from {marts}.admin_level_3 order by 1")
    sites = ", ".join(f"('{gid}', {h3.latlng_to_cell(lat, lon, 15)})" for gid, lon, lat in points)
    query = query.replace("from sites", f"from (values {sites}) as sites (site_id, cell)").replace("marts.", "{marts}.")
    located = [
        (gid, *row)
        for gid, lon, lat in points
        for row in place.ask("tiger", f"select gid, path from {{marts}}.locate({lon}, {lat})")
    ]
    assert len(located) >= 4
    assert place.ask("tiger", query) == located


def test_units_say_what_may_be_done_with_them(places: dict[str, Place]) -> None:
    rights = "select distinct licence, attribution, source_name from {marts}.admin_level_0"
    for place in places.values():
        ((licence, attribution, source_name),) = place.ask("tiger", rights)
        assert licence.startswith("Public domain")
        assert "TIGER/Line" in attribution
        assert source_name == "U.S. Census Bureau"
    ((licence, _, source_name),) = places["postgres"].ask("gadm", rights)
    assert "may not be redistributed" in licence
    assert source_name == "GADM"


def test_a_point_is_in_the_units_of_the_dataset_that_is_asked(place: Place) -> None:
    for dataset in place.files:
        query = "select gid, point_lon, point_lat from {marts}.admin_level_1 order by 1 limit 1"
        ((gid, lon, lat),) = place.ask(dataset, query)
        ((found,),) = place.ask(dataset, f"select gid_1 from {{marts}}.locate({lon}, {lat})")
        assert found == gid
    assert gid in place.reader.ingest("locate", "--dataset", dataset, "--", str(lon), str(lat)).stdout


def test_a_build_of_one_dataset_leaves_the_marts_of_the_others_as_they_are(places: dict[str, Place]) -> None:
    place = places["postgres"]
    built, *others = place.files
    before = {dataset: place.stamp(dataset) for dataset in place.files}
    place.load(built)
    place.build(built, *WITHOUT_TESTS)
    after = {dataset: place.stamp(dataset) for dataset in place.files}
    assert [dataset for dataset in before if before[dataset] != after[dataset]] == [built]
    assert {dataset for dataset, _, _ in after[built]} == {built, "timezones"}
    assert {f"marts_{dataset}" for dataset in others} < place.schemas()
    assert [name for name in place.schemas() if name.endswith("_next") or "_old_" in name] == []


def test_what_other_datasets_brought_leaves_init_nothing_to_do(places: dict[str, Place]) -> None:
    loader = places["postgres"].loader
    admin = replace(loader, env={**loader.env, "PGUSER": "warehouse"})
    assert "nothing to do" in admin.ingest("init").stdout


def test_a_dataset_without_staging_models_is_refused(place: Place) -> None:
    printed = place.of("timezones", place.transformer).dbt("build", expect=2).stdout
    assert "stg_timezones__adm_0" in printed
