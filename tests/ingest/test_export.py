"""Files for other programs: whole or not there, and described as their formats ask for."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import geoparquet_validator
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from admin_boundaries import export, hilbert
from admin_boundaries.duckdb_spatial import load_spatial
from ingest import catalog
from ingest.cli import cli
from ingest.errors import CountMismatch, ExportFailed, MartsMissing, UsageError
from ingest.settings import Settings
from tests.conftest import ROOT
from tests.fixtures import marts as built


@pytest.fixture
def warehouse(settings: Settings) -> Settings:
    """An embedded target with two countries of four units each."""
    built.write(settings.home)
    return settings


def write(
    settings: Settings, output: Path, *names: str, kind: str | None = None, overwrite: bool = False, **wanted: Any
) -> list[str]:
    """Export and return what was reported."""
    said: list[str] = []
    export.export(
        settings,
        export.Wanted(names, **wanted),
        output,
        kind=kind,
        overwrite=overwrite,
        of_datasets=catalog.rights_of_datasets(),
        report=said.append,
        warn=pytest.fail,
        warn_of_licences=lambda text: said.append(f"warning: {text}"),
    )
    return said


def test_a_geoparquet_file_has_its_rows_its_shapes_and_its_metadata(warehouse: Settings, tmp_path: Path) -> None:
    output = tmp_path / "units.parquet"
    said = write(warehouse, output, "admin_level_1")
    assert said[0] == "admin_level_1: 8 rows"
    frame = geopandas.read_parquet(output)
    assert frame.crs == "EPSG:4326"
    assert frame.geom_type.unique().tolist() == ["MultiPolygon"]
    assert sorted(frame["name"])[:3] == ["Ünit 0", "Ünit 0", "Ünit 1"]
    geo = json.loads(pq.read_metadata(output).metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geom")
    column = geo["columns"]["geom"]
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["MultiPolygon"])
    assert column["bbox"] == pytest.approx([0.0, 40.0, 14.0, 41.0])


def test_the_box_of_a_country_that_is_written_alone_is_its_own(warehouse: Settings, tmp_path: Path) -> None:
    output = tmp_path / "land.parquet"
    write(warehouse, output, "admin_level_1", countries=("BAA",))
    geo = json.loads(pq.read_metadata(output).metadata[b"geo"])
    assert geo["columns"]["geom"]["bbox"] == geopandas.read_parquet(output).total_bounds.tolist()


@pytest.mark.parametrize(("suffix", "driver"), [(".gpkg", "GPKG"), (".fgb", "FlatGeobuf")])
def test_a_country_is_written_alone(warehouse: Settings, tmp_path: Path, suffix: str, driver: str) -> None:
    output = tmp_path / f"land{suffix}"
    write(warehouse, output, "admin_level_1", countries=("BAA",))
    facts = pyogrio.read_info(output, layer="admin_level_1")
    assert (facts["driver"], facts["features"], facts["crs"]) == (driver, 4, "EPSG:4326")
    assert facts["geometry_type"] == "MultiPolygon"
    assert set(pyogrio.read_dataframe(output)["gid_0"]) == {"BAA"}


def test_of_level_0_a_country_is_its_own_unit(warehouse: Settings, tmp_path: Path) -> None:
    output = tmp_path / "land.parquet"
    write(warehouse, output, "admin_level_0", countries=("BAA",))
    assert pq.read_table(output)["gid"].to_pylist() == ["BAA"]


def test_a_table_without_shapes_is_sorted_by_its_key(settings: Settings, tmp_path: Path) -> None:
    with duckdb.connect(str(built.write(settings.home))) as connection:
        connection.execute("insert into marts.admin_units values ('0AA', 'Land', '0AA', 'sample')")
    write(settings, tmp_path / "units.parquet", "admin_units")
    assert pq.read_table(tmp_path / "units.parquet")["gid"].to_pylist() == ["0AA", "AAA", "BAA"]


def test_without_a_mart_every_level_is_a_layer_of_the_geopackage_also_an_empty_one(
    warehouse: Settings, tmp_path: Path
) -> None:
    output = tmp_path / "all.gpkg"
    write(warehouse, output)
    assert pyogrio.list_layers(output)[:, 0].tolist() == [f"admin_level_{level}" for level in range(6)]
    assert pyogrio.read_info(output, layer="admin_level_1")["geometry_name"] == "geom"
    assert pyogrio.read_info(output, layer="admin_level_5")["features"] == 0


def test_a_mart_without_shapes_is_a_plain_table(warehouse: Settings, tmp_path: Path) -> None:
    said = write(warehouse, tmp_path / "units.parquet", "admin_units")
    assert b"geo" not in (pq.read_metadata(tmp_path / "units.parquet").metadata or {})
    assert said[1].split(": ")[1].startswith("Parquet,")
    write(warehouse, tmp_path / "units.gpkg", "admin_units", countries=("AAA",))
    facts = pyogrio.read_info(tmp_path / "units.gpkg")
    assert (facts["features"], facts["geometry_type"]) == (1, None)


def test_rows_come_in_batches_and_none_is_lost(settings: Settings, tmp_path: Path) -> None:
    built.write(settings.home, countries=1, units=1)
    with duckdb.connect(str(settings.home / "warehouse.duckdb")) as connection:
        load_spatial(connection)
        connection.execute(
            "insert into marts.admin_level_1 by name select 'AAA.' || range || '_2' as gid, 'AAA' as gid_0, geom "
            "from marts.admin_level_0, range(5000)"
        )
    write(settings, tmp_path / "units.parquet", "admin_level_1")
    file = pq.ParquetFile(tmp_path / "units.parquet")
    assert file.num_row_groups == 5
    assert len(set(file.read()["gid"].to_pylist())) == 5001


def metadata_of(path: Path) -> str:
    """Return what a file says of itself, whatever its format; of several layers, what the first says."""
    if path.suffix == ".parquet":
        return str({key: value.decode() for key, value in pq.read_metadata(path).metadata.items()})
    return str(pyogrio.read_info(path, layer=0)["layer_metadata"])


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb"])
def test_a_file_says_under_which_licence_it_is_and_whom_to_name(
    warehouse: Settings, tmp_path: Path, suffix: str
) -> None:
    said = write(warehouse, tmp_path / f"land{suffix}", "admin_level_1", countries=("BAA",))
    found = metadata_of(tmp_path / f"land{suffix}")
    assert [text for text in ("Open licence of BAA", "Maps of BAA", "Office of BAA") if text not in found] == []
    assert "of AAA" not in found
    assert not [line for line in said if line.startswith("warning")]
    assert " 0.0 " not in said[-1]


def test_a_file_that_mixes_licences_says_which_and_of_how_many_units(warehouse: Settings, tmp_path: Path) -> None:
    said = write(warehouse, tmp_path / "units.gpkg", "admin_level_0", "admin_level_1")
    assert said[-1] == (
        "warning: units.gpkg mixes licences: Open licence of AAA (5 units); Open licence of BAA (5 units)."
    )


def test_a_mart_without_licences_has_those_of_the_units_that_it_is_about(warehouse: Settings, tmp_path: Path) -> None:
    write(warehouse, tmp_path / "units.parquet", "admin_units", countries=("BAA",))
    found = metadata_of(tmp_path / "units.parquet")
    assert "Open licence of BAA" in found
    assert "Open licence of AAA" not in found


def test_time_zones_are_under_the_licence_that_the_catalog_says(warehouse: Settings, tmp_path: Path) -> None:
    write(warehouse, tmp_path / "zones.gpkg", "timezones")
    zones, found = catalog.get("timezones"), metadata_of(tmp_path / "zones.gpkg")
    assert [text for text in (zones.licence, zones.attribution, zones.source_name) if text not in found] == []
    assert "Open licence" not in found


def test_a_table_of_partners_is_under_the_licence_of_the_other_dataset_as_well(
    settings: Settings, tmp_path: Path
) -> None:
    private = catalog.get("gadm").licence
    with duckdb.connect(str(built.write(settings.home))) as connection:
        connection.execute(
            "create table marts.unit_matches as from (values ('AAA', 'gadm', 'TGO'), ('BAA', 'gadm', null)) "
            "as matches (gid, other_dataset, other_gid)"
        )
    said = write(settings, tmp_path / "matches.parquet", "unit_matches")
    assert f"warning: matches.parquet holds data that may not be published: {private} (1 unit)." in said


def test_units_that_may_not_be_published_are_counted(settings: Settings, tmp_path: Path) -> None:
    private = catalog.get("gadm").licence
    with duckdb.connect(str(built.write(settings.home))) as connection:
        load_spatial(connection)
        connection.execute("update marts.admin_level_1 set licence = ? where gid_0 = 'AAA'", [private])
        connection.execute("update marts.admin_level_1 set licence = null where gid = 'BAA.1_1'")
    said = write(settings, tmp_path / "units.fgb", "admin_level_1")
    assert said[-2:] == [
        f"warning: units.fgb holds data that may not be published: {private} (4 units).",
        f"warning: units.fgb mixes licences: {private} (4 units); Open licence of BAA (3 units); no licence stated "
        "(1 unit).",
    ]


def test_the_help_of_the_command_and_the_documents_say_so_in_the_same_words() -> None:
    said = " ".join((cli.commands["export"].help or "").split())
    documented = " ".join((ROOT / "docs" / "tools.md").read_text(encoding="utf-8").split())
    for part in ("Licence, attribution and source are written into the file", "which, and of how many units."):
        assert part in said
        assert part in documented


@pytest.mark.parametrize(
    ("names", "countries", "file", "message"),
    [
        (("admin_levl_1",), (), "a.gpkg", "Did you mean 'admin_level_1'"),
        (("admin_level_1",), ("AAB",), "a.gpkg", "AAB is not in the marts of gadm. Did you mean"),
        (("timezones",), ("AAA",), "a.gpkg", "does not say which country"),
        (("admin_level_1",), (), "a.shp", "write a .shp.zip"),
        (("admin_level_1",), (), "a.xlsx", "is not a known format"),
        (("admin_units",), (), "a.geojson", "has no geometry"),
        (("admin_units",), (), "a.fgb", "has no geometry"),
        (("admin_level_0", "admin_level_1"), (), "a.parquet", "holds one mart, not 2"),
        (("admin_level_1",), (), "nowhere/a.gpkg", "There is no folder"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_writes_nothing(
    warehouse: Settings, tmp_path: Path, names: tuple[str, ...], countries: tuple[str, ...], file: str, message: str
) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError) as caught:
        write(warehouse, tmp_path / file, *names, countries=countries)
    assert message in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_is_there_is_replaced_only_on_request(warehouse: Settings, tmp_path: Path) -> None:
    output = tmp_path / "units.gpkg"
    output.write_text("precious")
    with pytest.raises(UsageError, match="--overwrite"):
        write(warehouse, output, "admin_level_1")
    assert output.read_text() == "precious"
    write(warehouse, output, "admin_level_1", overwrite=True)
    assert pyogrio.read_info(output)["features"] == 8


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb", ".geojson", ".geojsonl", ".csv", ".shp.zip"])
def test_a_fault_on_the_way_leaves_the_old_file_and_nothing_else(
    warehouse: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    output = tmp_path / f"units{suffix}"
    output.write_text("precious")
    real = export._counted

    def breaks(reader: object, rows: object, faults: list[Exception]) -> object:
        def batches() -> object:
            yield from real(reader, rows, faults)  # type: ignore[arg-type, misc]
            raise OSError("the cable was pulled")

        return export.pa.RecordBatchReader.from_batches(reader.schema, batches())  # type: ignore[attr-defined]

    monkeypatch.setattr(export, "_counted", breaks)
    with pytest.raises(ExportFailed, match="admin_level_1 was not written"):
        write(warehouse, output, "admin_level_1", overwrite=True)
    assert output.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [output.name]


@pytest.mark.parametrize("level", [0, 1])
def test_geoparquet_passes_the_tests_of_its_specification(settings: Settings, tmp_path: Path, level: int) -> None:
    built.write(settings.home, countries=12, units=6)
    with duckdb.connect(str(settings.home / "warehouse.duckdb")) as connection:
        load_spatial(connection)
        connection.execute("update marts.admin_level_1 set geom = null where gid = 'BAA.1_1'")
    output = tmp_path / "units.parquet"
    write(settings, output, f"admin_level_{level}")
    report = geoparquet_validator.check(str(output))
    assert geoparquet_validator.failed(report) == []
    assert "pass" in {each["status"] for each in report["outcomes"] if each["id"].startswith("/conf/covering/")}


def test_units_of_one_region_are_neighbours_in_a_geoparquet_file_whatever_their_order_was(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hilbert, "GROUP_ROWS", 40)
    built.write(settings.home, countries=1, units=0)
    with duckdb.connect(str(settings.home / "warehouse.duckdb")) as connection:
        load_spatial(connection)
        square = "ST_Multi(ST_MakeEnvelope(lon, lat, lon + 1, lat + 1))"
        connection.execute(
            f"insert into marts.admin_level_1 by name select 'AAA.' || n as gid, 'AAA' as gid_0, {square} as geom "
            "from (select range as n, n * 7919 % 359 - 180 as lon, n * 7907 % 179 - 90 as lat from range(5000)) "
            "order by hash(gid)"
        )
        connection.execute("update marts.admin_level_1 set geom = null where gid = 'AAA.7'")
        wide = "ST_Multi(ST_MakeEnvelope(-180, 0, 180, 1))"
        connection.execute(f"update marts.admin_level_1 set geom = {wide} where gid in ('AAA.8', 'AAA.9')")
    write(settings, tmp_path / "one.parquet", "admin_level_1")
    file = pq.ParquetFile(tmp_path / "one.parquet")
    groups = [file.read_row_group(number, columns=["gid", "bbox"]).to_pylist() for number in range(125)]
    assert [len(group) for group in groups] == [40] * 125
    areas = [
        (max(box["xmax"] for box in boxes) - min(box["xmin"] for box in boxes))
        * (max(box["ymax"] for box in boxes) - min(box["ymin"] for box in boxes))
        for boxes in ([row["bbox"] for row in group] for group in groups[:-1])
    ]
    assert sum(areas) < 2 * 360 * 180
    assert [(row["gid"], row["bbox"] is None) for row in groups[-1][-3:]] == [
        *(("AAA.7", True), ("AAA.8", False), ("AAA.9", False)),
    ]
    found = geopandas.read_parquet(tmp_path / "one.parquet", bbox=(10, 10, 20, 20))
    whole = geopandas.read_parquet(tmp_path / "one.parquet")
    boxes = [list(row["bbox"].values()) for group in groups for row in group if row["bbox"]]
    assert whole.bounds.dropna().to_numpy().tolist() == boxes
    assert set(found["gid"]) == set(whole[whole.intersects(shapely.box(10, 10, 20, 20))]["gid"])


def test_geojson_is_of_rfc_7946(settings: Settings, tmp_path: Path) -> None:
    with duckdb.connect(str(built.write(settings.home, countries=1, units=3))) as connection:
        load_spatial(connection)
        ring = "MULTIPOLYGON(((0.123456789 40, 0.123456789 41, 1 41, 1 40, 0.123456789 40)))"
        thin = "MULTIPOLYGON(((0 40, 0 40.00000001, 0.00000001 40, 0 40)))"
        for gid, shape in (("AAA.1_1", ring), ("AAA.2_1", thin)):
            connection.execute(f"update marts.admin_level_1 set geom = ST_GeomFromText('{shape}') where gid = '{gid}'")
        connection.execute(
            "update marts.admin_level_1 set name = 'A \"b\"\n\u2028c', geom = null where gid = 'AAA.3_1'"
        )
    write(settings, tmp_path / "units.geojson", "admin_level_1")
    found = json.loads((tmp_path / "units.geojson").read_text(encoding="utf-8"))
    assert (found["type"], found["licence"]) == ("FeatureCollection", "Open licence of AAA")
    first, second, third = found["features"]
    assert (first["type"], first["id"], first["properties"]["name"]) == ("Feature", "AAA.1_1", "Ünit 0")
    (outer,) = first["geometry"]["coordinates"][0]
    assert min(lon for lon, _ in outer) == 0.1234568
    assert shapely.LinearRing(outer).is_ccw
    assert shapely.geometry.shape(second["geometry"]).is_valid, "rounded to nothing, it would not be"
    assert (third["properties"]["name"], third["geometry"]) == ('A "b"\n\u2028c', None)
    write(settings, tmp_path / "units.geojsonl", "admin_level_1")
    lines = (tmp_path / "units.geojsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert [json.loads(line) for line in lines] == found["features"]


def test_a_csv_has_no_geometry_unless_it_is_asked_for(warehouse: Settings, tmp_path: Path) -> None:
    write(warehouse, tmp_path / "a.csv", "admin_level_1", countries=("BAA",))
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8", newline="")))
    assert [row["gid"] for row in rows] == ["BAA.1_1", "BAA.2_1", "BAA.3_1", "BAA.4_1"]
    assert "geom" not in rows[0]
    write(warehouse, tmp_path / "b.csv", "admin_level_1", countries=("BAA",), has_wkt=True)
    row = next(csv.DictReader((tmp_path / "b.csv").open(encoding="utf-8", newline="")))
    assert shapely.from_wkt(row["geom"]).bounds == (10, 40, 11, 41)
    with pytest.raises(UsageError, match="--wkt is for CSV"):
        write(warehouse, tmp_path / "b.fgb", "admin_level_1", has_wkt=True)


def test_a_file_that_has_no_place_for_a_licence_says_what_to_keep_beside_it(
    warehouse: Settings, tmp_path: Path
) -> None:
    said = write(warehouse, tmp_path / "units.csv", "admin_units", countries=("AAA",))
    assert said[-1].startswith(
        "CSV has no place for the licence. Keep it beside the file: Open licence of AAA; Maps of"
    )
    assert "no place" not in " ".join(write(warehouse, tmp_path / "a.csv", "admin_level_0")), "its rows have it"


def test_a_shapefile_says_what_it_could_not_hold(settings: Settings, tmp_path: Path) -> None:
    with duckdb.connect(str(built.write(settings.home))) as connection:
        load_spatial(connection)
        connection.execute("alter table marts.admin_level_1 add column name_variants text")
        connection.execute("alter table marts.admin_level_1 add column name_variables bool")
        connection.execute("update marts.admin_level_1 set name_variants = repeat('ü', 128) where gid = 'BAA.2_1'")
        connection.execute("update marts.admin_level_1 set name_variables = true where gid = 'BAA.2_1'")
    said = write(settings, tmp_path / "units.shp.zip", "admin_level_1", countries=("BAA",))
    names = ", ".join(
        f"{name} is {short}"
        for name, short in {
            "source_name": "source_nam",
            "vertex_count": "vertex_cou",
            "name_variants": "name_varia",
            "name_variables": "name_var_2",
        }.items()
    )
    cut = "name_variants is cut to 254 bytes in 1 row, the first BAA.2_1."
    assert [line for line in said if line.startswith("warning: ")] == [
        f"warning: units.shp.zip: Fields have at most 10 characters: attribution is attributio, {names}.",
        f"warning: units.shp.zip: {cut}",
    ]
    with zipfile.ZipFile(tmp_path / "units.shp.zip") as archive:
        assert archive.read("admin_level_1.cpg") == b"UTF-8"
        readme = archive.read("README.txt").decode()
        assert [text for text in ("Open licence of BAA", names, cut) if text not in readme] == []
    frame = pyogrio.read_dataframe(tmp_path / "units.shp.zip").set_index("gid")
    assert frame.loc["BAA.2_1", "name"] == "Ünit 1"
    assert frame.loc["BAA.2_1", "name_varia"] == "ü" * 127
    assert frame["name_varia"].isna().sum() == 3
    assert bool(frame.loc["BAA.2_1", "name_var_2"])


def test_units_are_chosen_by_their_keys_whatever_their_level(warehouse: Settings, tmp_path: Path) -> None:
    write(warehouse, tmp_path / "a.csv", gids=("BAA.1_1", "AAA.2_1"))
    assert keys_of(tmp_path / "a.csv") == ["AAA.2_1", "BAA.1_1"]
    write(warehouse, tmp_path / "b.gpkg", gids=("BAA.1_1", "AAA"))
    assert pyogrio.list_layers(tmp_path / "b.gpkg")[:, 0].tolist() == ["admin_level_0", "admin_level_1"]
    assert pyogrio.read_dataframe(tmp_path / "b.gpkg", layer="admin_level_0")["gid"].tolist() == ["AAA"]
    assert "Open licence of BAA" not in metadata_of(tmp_path / "b.gpkg"), "of the first layer, all is of AAA"
    with pytest.raises(UsageError, match="holds one mart, not 2: admin_level_0, admin_level_1"):
        write(warehouse, tmp_path / "b.fgb", gids=("BAA.1_1", "AAA"))


def test_the_units_under_another_are_chosen_by_its_key(warehouse: Settings, tmp_path: Path) -> None:
    under = ["BAA.1_1", "BAA.2_1", "BAA.3_1", "BAA.4_1"]
    write(warehouse, tmp_path / "a.csv", parents=("BAA",))
    assert keys_of(tmp_path / "a.csv") == under
    write(warehouse, tmp_path / "b.csv", "admin_level_1", parents=("BAA",), gids=("AAA.1_1",))
    assert keys_of(tmp_path / "b.csv") == ["AAA.1_1", *under]
    write(warehouse, tmp_path / "c.csv", "admin_level_1", parents=("BAA",), countries=("AAA",))
    assert keys_of(tmp_path / "c.csv") == []


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        ((), {"gids": ("BAA.1_2",)}, "gadm has no unit BAA.1_2. Did you mean 'BAA.1_1'?"),
        ((), {"parents": ("Nowhere",)}, "gadm has no unit Nowhere. `python -m ingest find NAME` says keys."),
        ((), {"parents": ("BAA.1_1",)}, "BAA.1_1 has no units under it."),
        (
            ("admin_level_1",),
            {"parents": ("BAA.1_1",)},
            "Nothing of admin_level_1 lies in BAA.1_1, which is of level 1.",
        ),
        (("admin_level_1",), {"gids": ("BAA",)}, "BAA is of level 0, not in admin_level_1."),
        (("timezones",), {"gids": ("BAA",)}, "timezones is no level."),
        (("timezones",), {"tolerance": 0.01}, "timezones is no level"),
        (("admin_level_1",), {"tolerance": 0.5}, "No unit is simplified to 0.5 degrees. Known: 0.01, 0.1."),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(
    settings: Settings, tmp_path: Path, names: tuple[str, ...], wanted: dict[str, Any], message: str
) -> None:
    add_simplified(built.write(settings.home))
    with pytest.raises(UsageError) as caught:
        write(settings, tmp_path / "a.csv", *names, **wanted)
    assert message in str(caught.value)
    assert not list(tmp_path.glob("*.csv*"))


def test_shapes_come_with_fewer_vertices_on_request(warehouse: Settings, tmp_path: Path) -> None:
    with pytest.raises(MartsMissing, match="There is no mart admin_units_simplified"):
        write(warehouse, tmp_path / "a.csv", "admin_level_1", tolerance=0.1)
    add_simplified(built.path_of(warehouse.home))
    for tolerance in (0.01, 0.1):
        output = tmp_path / f"{tolerance}.parquet"
        write(warehouse, output, "admin_level_1", tolerance=tolerance, countries=("BAA",))
        frame = geopandas.read_parquet(output)
        assert len(frame) == 4
        assert frame.set_index("gid").loc["BAA.1_1", "geom"].bounds == (10, 40, 10 + tolerance, 40 + tolerance)
        assert set(frame["vertex_count"]) == {4}
        assert "geom_hash" not in frame


def test_a_folder_has_a_part_for_each_country(warehouse: Settings, tmp_path: Path) -> None:
    output = tmp_path / "units"
    said = write(warehouse, output, "admin_level_0", "admin_level_1", is_by_country=True)
    assert said[:3] == ["admin_level_0: 2 rows", "admin_level_1: 8 rows", said[2]]
    assert said[2].startswith(f"{output}: GeoParquet, 4 files, ")
    parts = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    assert parts == [f"country_gid={gid}/admin_level_{level}.parquet" for gid in ("AAA", "BAA") for level in (0, 1)]
    assert "of AAA" not in metadata_of(output / "country_gid=BAA" / "admin_level_1.parquet")
    count = duckdb.sql(f"select country_gid, count(*) from '{output}/*/admin_level_1.parquet' group by 1 order by 1")
    assert count.fetchall() == [("AAA", 4), ("BAA", 4)]
    with pytest.raises(UsageError, match="already exists"):
        write(warehouse, output, "admin_level_1", is_by_country=True)
    write(warehouse, output, "admin_level_1", is_by_country=True, overwrite=True, countries=("AAA",))
    assert [path.name for path in output.iterdir()] == ["country_gid=AAA"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "units"]


def test_standard_output_has_the_data_and_nothing_else(
    warehouse: Settings, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_HOME", str(warehouse.home))
    monkeypatch.setenv("WAREHOUSE_TARGET", "embedded")
    arguments = ["export", "--level", "1", "--country", "BAA", "-o", "-", "--format"]
    cli.main([*arguments, "geojson"], standalone_mode=False)
    printed, said = capfdbinary.readouterr()
    assert len(json.loads(printed)["features"]) == 4
    assert b"standard output: GeoJSON" in said
    cli.main([*arguments, "parquet"], standalone_mode=False)
    assert pq.read_metadata(pa.BufferReader(capfdbinary.readouterr().out)).num_rows == 4
    with pytest.raises(UsageError, match="no suffix that says the format"):
        cli.main(arguments[:-1], standalone_mode=False)


def keys_of(path: Path) -> list[str]:
    """Return the keys in a CSV, sorted."""
    with path.open(encoding="utf-8", newline="") as file:
        return sorted(row["gid"] for row in csv.DictReader(file))


def add_simplified(warehouse: Path) -> None:
    """Add triangles for all units, of 0.01 and of 0.1 degrees at the corner of their boxes."""
    with duckdb.connect(str(warehouse)) as connection:
        load_spatial(connection)
        units = " union all ".join(f"select gid, min_lon, min_lat from marts.admin_level_{level}" for level in (0, 1))
        corners = "min_lon || ' ' || min_lat, min_lon + d || ' ' || min_lat, min_lon || ' ' || min_lat + d"
        ring = f"concat_ws(', ', {corners}, min_lon || ' ' || min_lat)"
        connection.execute(
            "create table marts.admin_units_simplified as select gid, d as tolerance_degrees, 4 as vertex_count, "
            f"ST_GeomFromText('MULTIPOLYGON(((' || {ring} || ')))') as geom "
            f"from ({units}), (values (0.01::double), (0.1::double)) as tolerances (d)"
        )


def test_a_mart_that_changes_meanwhile_is_not_written(
    warehouse: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export._write
    monkeypatch.setattr(export, "_write", lambda *arguments: (real(*arguments)[0] + 1, []))
    with pytest.raises(CountMismatch, match="has 8 rows, but 9 were written"):
        write(warehouse, tmp_path / "units.parquet", "admin_level_1")
    assert not (tmp_path / "units.parquet").exists()


def test_a_warehouse_that_is_missing_or_empty_is_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(MartsMissing, match="There is no warehouse"):
        write(settings, tmp_path / "a.gpkg")
    settings.home.mkdir(parents=True)
    duckdb.connect(str(settings.home / "warehouse.duckdb")).close()
    with pytest.raises(MartsMissing, match="There are no marts"):
        write(settings, tmp_path / "a.gpkg")
