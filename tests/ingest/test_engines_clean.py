"""What an engine makes of text: trimmed, NULL where it is missing, else untouched."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from ingest import engines
from tests.fixtures import boundaries, quirks
from tests.fixtures.boundaries import Quirk
from tests.ingest.conftest import layers_of, read, slice_of

both_engines = pytest.mark.parametrize("engine", engines.ENGINES)


def column(engine: str, path: Path, level: int, name: str) -> list[object]:
    """Return a column of a level."""
    values: list[object] = read(engine, slice_of(layers_of(path)[level]))[name].to_pylist()
    return values


def write(tmp_path: Path, *with_quirks: Quirk) -> Path:
    """Write a world of two countries."""
    return boundaries.write_levels_gpkg(
        tmp_path / "gadm.gpkg", boundaries.levels({"AAA": 2, "BBB": 1}, quirks=with_quirks)
    )


@both_engines
def test_na_and_empty_text_become_null_and_nothing_else_does(tmp_path: Path, engine: str) -> None:
    found = column(engine, write(tmp_path, quirks.absent_text), 1, "varname_1")
    assert found[:6] == [None, None, None, "NAMIBIA", "na", "N/A"]


@both_engines
def test_blanks_of_every_kind_are_trimmed_at_both_ends_only(tmp_path: Path, engine: str) -> None:
    found = column(engine, write(tmp_path, quirks.padded_text), 1, "name_1")
    assert found[:7] == ["Maritime", "Kara", "Plateaux", None, "a \u00a0 b", None, None]


@both_engines
def test_no_kind_of_blank_stays_at_the_end_of_a_name(tmp_path: Path, engine: str) -> None:
    blanks = " \t\n\r\f\v\u00a0\u2007\u202f\u3000\ufeff"
    made = boundaries.levels({"AAA": 0})
    boundaries.set_cell(made, 0, 0, "COUNTRY", f"{blanks}東京{blanks}Kara{blanks}")
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made)
    assert column(engine, path, 0, "country") == [f"東京{blanks}Kara"]


@both_engines
def test_names_in_any_script_and_with_any_mark_pass_unchanged(tmp_path: Path, engine: str) -> None:
    found = column(engine, write(tmp_path, quirks.strange_names), 1, "name_1")
    assert tuple(found[: len(quirks.STRANGE_NAMES)]) == quirks.STRANGE_NAMES


@both_engines
def test_a_parent_called_na_is_null_and_a_question_mark_is_kept(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, quirks.unknown_parents)
    assert column(engine, path, 2, "gid_1")[:2] == [None, "XXX.99_1"]
    assert column(engine, path, 2, "gid_2")[2:4] == ["?", "RWA.4.5.1.3.?_1"]


@both_engines
def test_rows_with_one_key_are_both_kept(tmp_path: Path, engine: str) -> None:
    assert column(engine, write(tmp_path, quirks.duplicate_keys), 1, "gid_1")[:2] == ["AAA.1_1", "AAA.1_1"]


@both_engines
def test_columns_are_told_by_name_not_by_place_or_case(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, quirks.shuffled_columns, quirks.lower_case_columns, quirks.further_columns)
    assert column(engine, path, 1, "gid_1")[0] == "AAA.1_1"
    assert column(engine, path, 1, "name_1")[0] == "Country AAA 1"
    assert column(engine, path, 1, "source_fid")[0] == 1


@both_engines
def test_a_column_that_a_release_lacks_is_null(tmp_path: Path, engine: str) -> None:
    found = column(engine, write(tmp_path, quirks.without_column("HASC_1")), 1, "hasc_1")
    assert found == [None] * 8


@both_engines
def test_every_row_says_which_feature_of_which_file_it_was(tmp_path: Path, engine: str) -> None:
    rows = read(engine, slice_of(layers_of(write(tmp_path))[1]))
    assert set(rows["source_file"].to_pylist()) == {"gadm.gpkg"}
    assert rows["source_fid"].to_pylist() == list(range(1, 9))


@both_engines
def test_a_file_name_that_looks_like_sql_is_only_a_file_name(tmp_path: Path, engine: str) -> None:
    path = boundaries.write_levels_gpkg(tmp_path / "it's ' or 1=1 --.gpkg", boundaries.levels({"AAA": 0}))
    assert column(engine, path, 0, "source_file") == [path.name]


@both_engines
def test_numeric_codes_become_text_without_a_decimal_point(tmp_path: Path, engine: str) -> None:
    made = boundaries.levels({"AAA": 1})
    made[1] = made[1].assign(GID_1=range(100, 104))
    boundaries.set_cell(made, 1, 2, "GID_1", None)
    made[1]["GID_1"] = made[1]["GID_1"].astype("Int64")
    path = boundaries.write_levels_gpkg(tmp_path / "gadm.gpkg", made)
    assert column(engine, path, 1, "gid_1") == ["100", "101", None, "103"]


@both_engines
def test_attributes_of_a_shapefile_in_another_encoding_are_read_as_it_says(tmp_path: Path, engine: str) -> None:
    made = boundaries.levels({"AAA": 1})
    boundaries.set_cell(made, 1, 0, "NAME_1", "Côte-Nord")
    path = tmp_path / "gadm41_AAA_1.shp"
    made[1].to_file(path, engine="pyogrio", encoding="ISO-8859-1")
    assert path.with_suffix(".cpg").read_text().upper() in ("ISO-8859-1", "ISO8859-1")
    assert column(engine, path, 1, "name_1")[0] == "Côte-Nord"


@both_engines
def test_a_layer_without_features_gives_no_rows(tmp_path: Path, engine: str) -> None:
    frame = boundaries.levels({"AAA": 0})[0]
    path = boundaries.write_layers(tmp_path / "gadm.gpkg", {"ADM_0": frame})
    rows = read(engine, slice_of(layers_of(path)[0], where="fid < 0"))
    assert rows.num_rows == 0


@both_engines
def test_a_geometry_column_by_any_name_is_found(tmp_path: Path, engine: str) -> None:
    frame = gpd.GeoDataFrame({"GID_0": ["AAA"], "COUNTRY": ["A"]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326")
    path = tmp_path / "gadm.gpkg"
    frame.to_file(path, layer="ADM_0", engine="pyogrio", layer_options={"GEOMETRY_NAME": "the shape", "FID": "the id"})
    rows = read(engine, slice_of(layers_of(path)[0], where='"the id" between 1 and 1'))
    assert rows["source_fid"].to_pylist() == [1]
    assert shapely.from_wkb(rows["geom"][0].as_py()).area == 1
