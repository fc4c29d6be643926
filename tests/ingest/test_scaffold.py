"""What the catalog says of a dataset becomes its staging models."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from ingest import catalog, scaffold
from ingest.errors import UsageError
from ingest.settings import PROJECT_ROOT

STAGING = PROJECT_ROOT / "models" / "staging"
HIERARCHIES = catalog.hierarchies()


@pytest.mark.parametrize("name", HIERARCHIES)
def test_the_staging_models_of_each_dataset_are_what_its_entry_in_the_catalog_makes(name: str) -> None:
    there = {path.name: path.read_text(encoding="utf-8") for path in (STAGING / name).iterdir()}
    assert there == scaffold.staging_folder(catalog.get(name)), f"python -m ingest scaffold {name}"


@pytest.mark.parametrize("name", HIERARCHIES)
def test_every_dataset_has_six_views_and_a_source_for_each_of_its_own_levels(name: str) -> None:
    dataset = catalog.get(name)
    files = scaffold.staging_folder(dataset)
    assert {f"stg_{name}__adm_{level}.sql" for level in range(6)} < files.keys()
    ((source),) = yaml.safe_load(files[f"_{name}__sources.yml"])["sources"]
    assert [table["name"] for table in source["tables"]] == [table.name for table in dataset.tables]
    for table, described in zip(dataset.tables, source["tables"], strict=True):
        named = {column["name"] for column in described["columns"]}
        assert {column.name for column in table.columns} < named
        assert all(column["description"] for column in described["columns"])


@pytest.mark.parametrize("name", HIERARCHIES)
def test_lines_are_short_enough_to_be_read(name: str) -> None:
    texts = scaffold.staging_folder(catalog.get(name))
    assert [line for text in texts.values() for line in text.splitlines() if len(line) > 120] == []


def test_the_texts_that_a_view_may_get_are_those_that_the_macros_know() -> None:
    macro = (PROJECT_ROOT / "macros" / "admin" / "staged_admin_level.sql").read_text(encoding="utf-8")
    listed = re.search(r"macro staged_texts\(\) %}\s+{{ return\((\[.*?\])\) }}", macro, re.DOTALL)
    assert listed is not None
    assert tuple(ast.literal_eval(listed[1])) == (*scaffold.TEXTS, *scaffold.RIGHTS)


def test_a_quote_in_a_licence_stays_within_its_text() -> None:
    dataset = dataclasses.replace(catalog.get("gadm"), licence="The publisher's own \\ licence")
    view = scaffold.staging_folder(dataset)["stg_gadm__adm_0.sql"]
    assert "'licence': 'The publisher\\'s own \\\\ licence'" in view


def test_a_release_under_another_licence_says_so() -> None:
    view = scaffold.staging_folder(catalog.get("gadm"))["stg_gadm__adm_2.sql"]
    of_all, _, of_the_sample = view.partition("of_releases={\n        'sample': {")
    assert "'licence': 'Academic and other non-commercial use;" in of_all
    assert "'licence': 'Open data, another licence for each country:" in of_the_sample


def test_a_dataset_whose_key_is_not_named_is_refused() -> None:
    dataset = catalog.get("gadm")
    tables = tuple(
        dataclasses.replace(table, columns=tuple(dataclasses.replace(column, staged_as=()) for column in table.columns))
        for table in dataset.tables
    )
    with pytest.raises(UsageError, match="which column of gadm_adm_0 is the key"):
        scaffold.staging_folder(dataclasses.replace(dataset, tables=tables))


def test_a_dataset_without_levels_is_refused() -> None:
    with pytest.raises(UsageError, match="timezones has no levels"):
        scaffold.staging_folder(catalog.get("timezones"))


def test_only_files_that_change_are_written(tmp_path: Path) -> None:
    files = scaffold.staging_folder(catalog.get("gadm"))
    assert len(scaffold.write(files, tmp_path / "gadm")) == len(files)
    assert scaffold.write(files, tmp_path / "gadm") == []
    (tmp_path / "gadm" / "stg_gadm__adm_0.sql").write_text("select 1")
    assert [path.name for path in scaffold.write(files, tmp_path / "gadm")] == ["stg_gadm__adm_0.sql"]


def test_no_two_datasets_could_take_each_others_schemas() -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9]*", name) for name in catalog.datasets())
    assert not catalog.datasets().keys() & {"next", "old", "edition"}
