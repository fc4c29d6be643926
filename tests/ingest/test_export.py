"""Files for other programs: whole or not there, and described as their formats ask for."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import geopandas
import pyarrow.parquet as pq
import pyogrio
import pytest

from admin_boundaries import export
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
    settings: Settings, output: Path, *names: str, countries: tuple[str, ...] = (), overwrite: bool = False
) -> list[str]:
    """Export and return what was reported."""
    said: list[str] = []
    export.export(
        settings,
        names,
        countries,
        output,
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
    assert frame["name"].tolist()[:2] == ["Ünit 0", "Ünit 1"]
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
    assert file.num_row_groups == 3
    assert len(set(file.read()["gid"].to_pylist())) == 5001


def metadata_of(path: Path) -> str:
    """Return what a file says of itself, whatever its format."""
    if path.suffix == ".parquet":
        return str({key: value.decode() for key, value in pq.read_metadata(path).metadata.items()})
    return str(pyogrio.read_info(path)["layer_metadata"])


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb"])
def test_a_file_says_under_which_licence_it_is_and_whom_to_name(
    warehouse: Settings, tmp_path: Path, suffix: str
) -> None:
    said = write(warehouse, tmp_path / f"land{suffix}", "admin_level_1", countries=("BAA",))
    found = metadata_of(tmp_path / f"land{suffix}")
    assert [text for text in ("Open licence of BAA", "Maps of BAA", "Office of BAA") if text not in found] == []
    assert "of AAA" not in found
    assert not [line for line in said if line.startswith("warning")]


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
        (("admin_level_1",), (), "a.shp", "is not a known format"),
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


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb"])
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


def test_a_mart_that_changes_meanwhile_is_not_written(
    warehouse: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export._write_parquet
    monkeypatch.setattr(export, "_write_parquet", lambda *arguments: real(*arguments) + 1)
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
