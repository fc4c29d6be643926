"""The catalog says what there is to load: tables, columns, addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest import catalog
from ingest.errors import LayerMissing, SettingsError, UsageError

CODES = (
    *("iso_3166_1_alpha_2", "iso_3166_1_alpha_3", "iso_3166_2", "hasc", "fips", "fips_10_4"),
    *("geoid", "p_code", "wikidata"),
)
STAGED = {
    *("gid", "parent_gid", "publisher_parent_gid", "gid_0", "gid_1", "gid_2", "gid_3", "gid_4"),
    *("name", "name_local", "name_variants"),
    *("type_local", "type_english", "hasc_code", "iso_code", "cc_code", "licence", "attribution", "source_name"),
    *(f"code:{scheme}" for scheme in (*CODES, "gers", "shape_id")),
}


def names(dataset: str, level: int | None) -> list[str]:
    """Return the text columns of a raw table."""
    return [column.name for column in catalog.get(dataset).table(level).columns]


def test_gadm_has_six_levels_and_time_zones_one_table() -> None:
    assert [table.name for table in catalog.get("gadm").tables] == [f"gadm_adm_{level}" for level in range(6)]
    assert [table.name for table in catalog.get("timezones").tables] == ["timezones"]
    assert catalog.get("gadm").is_hierarchy
    assert not catalog.get("timezones").is_hierarchy


def test_the_columns_of_a_level_are_its_ancestors_and_its_own() -> None:
    assert names("gadm", 0) == ["country", "gid_0"]
    own = ["name_1", "varname_1", "nl_name_1", "type_1", "engtype_1", "cc_1", "hasc_1"]
    assert names("gadm", 1) == ["country", "gid_0", "gid_1", *own, "iso_1"]
    for level in range(2, 6):
        keys = [f"gid_{k}" for k in range(level + 1)]
        assert names("gadm", level) == ["country", *keys, *(name.replace("1", str(level)) for name in own)]
    assert names("timezones", None) == ["tzid"]


def test_keys_and_names_must_be_there_and_the_rest_need_not() -> None:
    required = [column.name for column in catalog.get("gadm").table(2).columns if column.required]
    assert required == ["country", "gid_0", "gid_1", "gid_2", "name_2"]


def test_a_level_that_no_table_has_is_refused() -> None:
    with pytest.raises(LayerMissing, match=r"gadm has no level 6\. Levels: 0 to 5"):
        catalog.get("gadm").table(6)


@pytest.mark.parametrize(
    ("release", "url"),
    [
        ("4.1", "https://geodata.ucdavis.edu/gadm/gadm4.1/gadm_410-levels.zip"),
        ("3.6", "https://geodata.ucdavis.edu/gadm/gadm3.6/gadm36_levels_gpkg.zip"),
    ],
)
def test_the_world_of_a_release_is_one_file(gadm: catalog.Dataset, release: str, url: str) -> None:
    assert catalog.urls(gadm, gadm.release(release)) == (url,)


@pytest.mark.parametrize(
    ("release", "pattern"),
    [
        ("4.1", "https://geodata.ucdavis.edu/gadm/gadm4.1/gpkg/gadm41_{}.gpkg"),
        ("3.6", "https://geodata.ucdavis.edu/gadm/gadm3.6/gpkg/gadm36_{}_gpkg.zip"),
    ],
)
def test_countries_are_one_file_each(gadm: catalog.Dataset, release: str, pattern: str) -> None:
    found = catalog.urls(gadm, gadm.release(release), countries=("TGO", "GHA"))
    assert found == (pattern.format("TGO"), pattern.format("GHA"))


@pytest.mark.parametrize(
    ("variant", "oceans", "file"),
    [
        ("now", True, "timezones-with-oceans-now.shapefile.zip"),
        ("now", False, "timezones-now.shapefile.zip"),
        ("1970", True, "timezones-with-oceans-1970.shapefile.zip"),
        ("1970", False, "timezones-1970.shapefile.zip"),
        ("all", True, "timezones-with-oceans.shapefile.zip"),
        ("all", False, "timezones.shapefile.zip"),
    ],
)
def test_time_zones_have_a_file_per_variant_with_and_without_oceans(variant: str, oceans: bool, file: str) -> None:
    zones = catalog.get("timezones")
    (url,) = catalog.urls(zones, zones.release("2025b"), variant=variant, oceans=oceans)
    assert url == f"https://github.com/evansiroky/timezone-boundary-builder/releases/download/2025b/{file}"


def test_the_sample_comes_with_the_project(tmp_path: Path, gadm: catalog.Dataset) -> None:
    (tmp_path / "dbt_project.yml").touch()
    assert catalog.urls(gadm, gadm.release("sample"), root=tmp_path) == (f"{tmp_path}/sample/boundaries-levels.zip",)


def test_countries_of_a_release_without_country_files_are_refused(gadm: catalog.Dataset) -> None:
    with pytest.raises(UsageError, match=r"no per-country files\. Leave --country out"):
        catalog.urls(gadm, gadm.release("sample"), countries=("TGO",))


@pytest.mark.parametrize("name", ["4.2", "4x1", "4-1", "41", "4.1 ", "../4.1", "3.6\n"])
def test_a_release_that_is_not_known_is_refused(gadm: catalog.Dataset, name: str) -> None:
    with pytest.raises(UsageError, match="gadm has no release"):
        gadm.release(name)


def test_a_mistyped_release_is_named_with_the_one_that_was_meant(gadm: catalog.Dataset) -> None:
    with pytest.raises(UsageError, match=r"Did you mean '4\.1'"):
        gadm.release("4.1.0")


@pytest.mark.parametrize("name", ["2025", "2025B", "25b", "2025b/../../x"])
def test_a_time_zone_release_is_a_year_and_a_letter(name: str) -> None:
    with pytest.raises(UsageError):
        catalog.get("timezones").release(name)


def test_a_mistyped_dataset_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(UsageError, match="Did you mean 'timezones'"):
        catalog.get("timezone")


@pytest.mark.parametrize(
    "text", ["", "datasets:", "datasets: []", "datasets: {x: }", "datasets: {x: {title: t}}", "a: [", "datasets: 7"]
)
def test_a_file_that_is_no_catalog_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="is not a catalog"):
        catalog.datasets(path)


def test_every_dataset_says_what_it_is_whose_and_under_which_licence() -> None:
    for dataset in catalog.datasets().values():
        assert dataset.title
        assert dataset.licence
        assert dataset.attribution not in ("", dataset.title)
        assert dataset.source_name not in ("", dataset.title)
        assert dataset.release().name == dataset.default_release


def test_every_hierarchy_of_the_catalog_but_gadm_says_what_its_columns_are_staged_as() -> None:
    for dataset in catalog.datasets().values():
        if not dataset.is_hierarchy or dataset.name == "gadm":
            continue
        for table in dataset.tables:
            staged = [name for column in table.columns for name in column.staged_as] + [
                name for name, _ in table.joined
            ]
            assert staged.count("gid") == staged.count("name") == 1, table.name
            assert set(staged) <= STAGED, table.name
            repeated = {name for name in staged if staged.count(name) > 1}
            assert repeated <= {"name_variants"}, table.name


def test_levels_with_files_of_their_own_are_one_file_each() -> None:
    earth = catalog.get("naturalearth")
    folder = "https://naciscdn.org/naturalearth/5.1.1/10m/cultural"
    countries, states = f"{folder}/ne_10m_admin_0_countries.zip", f"{folder}/ne_10m_admin_1_states_provinces.zip"
    assert catalog.urls(earth, earth.release("5.1.1")) == (countries, states)
    assert catalog.urls(earth, earth.release("5.1.1"), levels=(1,)) == (states,)


def test_a_layer_has_the_level_that_its_name_stands_for() -> None:
    release = catalog.get("naturalearth").release()
    assert release.level_of("ne_10m_admin_0_countries") == 0
    assert release.level_of("NE_10m_admin_1_states_provinces") == 1
    assert release.level_of("ne_10m_admin_0_countries_lakes") is False
    assert catalog.get("timezones").release().level_of("combined-shapefile") is None


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        *(("TGO", "TGO"), ("tgo", "TGO"), ("TG", "TGO"), ("tg", "TGO"), ("Togo", "TGO"), (" togo ", "TGO")),
        *(("Cote d’Ivoire", "CIV"), ("Bolivia", "BOL"), ("russia", "RUS"), ("Niger", "NER"), ("XKO", "XKO")),
    ],
)
def test_a_country_is_called_by_any_code_or_by_name(typed: str, code: str) -> None:
    assert catalog.country(typed) == code


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("Korea", "'Korea' may be any of PRK (Korea, Democratic People's Republic of), KOR (Korea, Republic of)."),
        ("Vietnam", "Did you mean VNM (Viet Nam)?"),
        ("XY", "'XY' is neither a code of ISO 3166-1 nor the name of a country there. Give a code, such as TGO."),
        ("", "'' is neither"),
    ],
)
def test_what_calls_no_country_or_several_is_refused(typed: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        catalog.country(typed)
    assert message in str(caught.value)


def test_without_the_list_of_countries_three_letters_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "PROJECT_ROOT", tmp_path)
    assert catalog.country("tgo") == "TGO"
    with pytest.raises(UsageError, match="the list of countries is not here"):
        catalog.country("Togo")
