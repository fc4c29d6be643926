"""A new hierarchical dataset is a new entry of the catalog, not new code."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely

from ingest import catalog, engines, scaffold
from ingest.layers import discover
from ingest.layers.plan import plan
from ingest.settings import PROJECT_ROOT
from tests.fixtures import boundaries
from tests.ingest.conftest import Pipeline, layers_of, read, slice_of

COMMUNES = """
datasets:
  communes:
    title: Regions and communes of nowhere
    licence: CC0
    table: communes_{level}
    levels: 2
    missing_text: ["-", "n/a"]
    default_release: "2024"
    releases:
      "20[0-9]{2}":
        url: https://example.org/{release}/communes.zip
        country_url: https://example.org/{release}/{iso3}.gpkg
        layers: ['(?P<level>[01])_.*']
    columns:
      - {name: "code_{k}", source: ["CODE{k}", "ID{k}"], each: ancestors, required: true}
      - {name: "label_{level}", source: ["LABEL"], required: true}
      - {name: "mayor", source: ["MAYOR"], levels: [1, 1]}
"""
SQL = '1_communes"; drop table x; --'


@pytest.fixture
def communes(catalog_with: Callable[[str], None], tmp_path: Path) -> Path:
    """A catalog with one dataset, and its file: number keys, another name per level, a layer whose name is SQL."""
    catalog_with(COMMUNES)
    regions = gpd.GeoDataFrame(
        {"ID0": [1, 2], "LABEL": ["North", "-"]}, geometry=[shapely.box(0, 0, 2, 2), shapely.box(2, 0, 4, 2)]
    )
    parts = [shapely.box(x, 0, x + 1, 2) for x in range(4)]
    rows = {
        "CODE0": [1, 1, 2, None],
        "CODE1": ["A", "B", "C", "D"],
        "LABEL": ["a", "b", "c", "d"],
        "MAYOR": ["n/a", "NA", "x", None],
    }
    children = gpd.GeoDataFrame(rows, geometry=parts)
    children["CODE0"] = children["CODE0"].astype("Int64")
    layers = {"0_regions": regions.set_crs("EPSG:4326"), SQL: children.set_crs("EPSG:4326")}
    return boundaries.write_layers(tmp_path / "communes.gpkg", layers)


def test_its_layers_are_found_and_matched(communes: Path) -> None:
    found = layers_of(communes, "communes")
    assert {level: layer.name for level, layer in found.items()} == {0: "0_regions", 1: SQL}
    assert found[1].columns == (("code_0", "CODE0"), ("code_1", "CODE1"), ("label_1", "LABEL"), ("mayor", "MAYOR"))
    assert found[0].columns == (("code_0", "ID0"), ("label_0", "LABEL"))


def test_its_layers_are_selected_and_planned(communes: Path) -> None:
    dataset = catalog.get("communes")
    kept = discover.select(list(layers_of(communes, "communes").values()), dataset, (0, 1), "communes.gpkg")
    ranges = plan([discover.features(layer) for layer in kept], [True] * 2)
    assert sorted((kept[part.layer_no].name, part.fid_from, part.fid_to) for part in ranges) == [
        ("0_regions", 1, 2),
        (SQL, 1, 4),
    ]


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_its_rows_are_read(communes: Path, engine: str) -> None:
    source = slice_of(layers_of(communes, "communes")[1], where='"fid" between 2 and 4', dataset="communes")
    rows = read(engine, source)
    assert rows["code_0"].to_pylist() == ["1", "2", None]
    assert rows["code_1"].to_pylist() == ["B", "C", "D"]
    assert rows["mayor"].to_pylist() == ["NA", "x", None]
    assert [shapely.from_wkb(geom).geom_type for geom in rows["geom"].to_pylist()] == ["MultiPolygon"] * 3


def test_it_is_requested_like_any_other(communes: Path) -> None:
    from ingest.pipeline import runs as loading

    none: dict[str, list[str]] = {"communes": []}
    options: dict[str, Any] = {"levels": None, "engine": "sedonadb", "variant": "now", "oceans": True}
    (world,) = loading.requests(["communes"], releases={"communes": ["2023"]}, sources=none, countries=(), **options)
    assert (world.sources, world.release) == (("https://example.org/2023/communes.zip",), "2023")
    (country,) = loading.requests(["communes"], releases=none, sources=none, countries=("XXX",), **options)
    assert (country.sources, country.scope) == (("https://example.org/2024/XXX.gpkg",), "countries")


def example_of_contributing(folder: Path) -> str:
    """Write the files that CONTRIBUTING makes into a folder, and return its entry of the catalog."""
    text = (PROJECT_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, content in re.findall(r"cat > /tmp/atlantis/(\S+) <<'END'\n(.*?)\nEND\n", text, re.DOTALL):
        (folder / name).write_text(content, encoding="utf-8")
    (entry,) = re.findall(r"^   ```yaml\n(     atlantis:\n.*?)^   ```$", text, re.DOTALL | re.MULTILINE)
    return "datasets:\n" + textwrap.dedent(entry).replace("atlantis:", "  atlantis:", 1).replace("\n  ", "\n    ")


def test_the_example_of_contributing_is_loaded_and_scaffolded(
    catalog_with: Callable[[str], None], pipeline: Pipeline, tmp_path: Path
) -> None:
    files = tmp_path / "atlantis"
    files.mkdir()
    catalog_with(example_of_contributing(files))
    run_id = pipeline.run(files, dataset="atlantis", release="2026")
    assert pipeline.state(run_id) == ("published", None)
    assert [pipeline.rows(f"atlantis_adm_{level}", "atlantis") for level in (0, 1)] == [1, 2]
    view = scaffold.staging_folder(catalog.get("atlantis"))["stg_atlantis__adm_1.sql"]
    assert "'licence': 'CC0 1.0'" in view
    assert "'gid_0': 'isle'" in view
