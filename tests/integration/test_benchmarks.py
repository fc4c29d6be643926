"""The benchmarks run, on a very small world: every way loads every row, and the report can be written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyogrio
import pytest
import shapely

from benchmarks import generate, next_release, report
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

SCALE = 0.001
DIGITISING = 0.2  # degrees: more than a step of the lattice of any country
QUICK = ("ingest-sedonadb-2$", "dbt-build", "server-alone", "ogr2ogr", "to-postgis", "original", "duckdb")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the shape of the world's, three countries of it."""
    path = tmp_path_factory.mktemp("generated") / "world.gpkg"
    generate.write(path, SCALE)
    return path


def test_the_generated_units_are_valid_and_tile_their_parents(file: Path) -> None:
    frames = [pyogrio.read_dataframe(file, layer=str(name)) for name, _ in pyogrio.list_layers(file)]
    assert len(frames) == 6
    for level, frame in enumerate(frames):
        assert frame.geometry.is_valid.all()
        assert set(frame.geom_type) == {"MultiPolygon"}
        assert frame.crs == "EPSG:4326"
        if level:
            key = f"GID_{level - 1}"
            parents = frames[level - 1].set_index(key).geometry
            children = frame.dissolve(key).geometry
            complete = children.index.intersection(parents.index)
            gaps = shapely.area(shapely.symmetric_difference(children[complete].values, parents[complete].values))
            assert (gaps > 1e-9).mean() < 0.05  # a few parents have children only in part


def read(made: generate.World, path: Path) -> dict[str | None, Any]:
    """Write a release; return the geometry of each unit by its key."""
    generate.write_world(path, made)
    frames = ((int(str(name)[-1]), pyogrio.read_dataframe(path, layer=name)) for name, _ in pyogrio.list_layers(path))
    return {
        key: shape for level, frame in frames for key, shape in zip(frame[f"GID_{level}"], frame.geometry, strict=True)
    }


def test_the_next_release_has_the_changes_that_it_tells_of_and_no_others(tmp_path: Path) -> None:
    releases = next_release.make(SCALE, 0.2, all_differ=True)
    before, now = read(releases.before, tmp_path / "before.gpkg"), read(releases.now, tmp_path / "now.gpkg")
    rekeyed = {row[1:] for row, kind in releases.truth.items() if kind == "re-keyed"}
    gone = {old for of, old, _ in releases.truth if of == "from"} | {old for old, _ in rekeyed}
    fresh = {new for of, _, new in releases.truth if of == "to"} | {new for _, new in rekeyed}
    assert set(releases.truth.values()) >= {"split", "merged", "re-keyed", "renamed", "new", "gone"}
    assert (set(before) - set(now), set(now) - set(before)) == (gone, fresh)
    assert all(shape.is_valid for shape in now.values())
    for old, new in rekeyed | {(key, key) for key in set(before) & set(now)}:
        is_same = shapely.hausdorff_distance(before[old].envelope, now[new].envelope) < DIGITISING
        assert not before[old].equals_exact(now[new])
        assert is_same or releases.truth.get(("both", old, new)) == "reshaped"


@pytest.mark.servers
def test_every_way_loads_every_row(file: Path, tmp_path: Path) -> None:
    options = [f"--scale={SCALE}", f"--file={file}", f"--results={tmp_path}", *(f"--only={name}" for name in QUICK)]
    command = [sys.executable, "-m", "benchmarks.run", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / f"scale-{SCALE:g}.json").read_text())
    assert [result["fault"] for result in found["results"]] == [None] * 12, done.stdout
    assert all(result["peak_bytes"] > 0 for result in found["results"])
    assert "server alone" in (tmp_path / f"scale-{SCALE:g}.md").read_text()
    assert (tmp_path / f"scale-{SCALE:g}.svg").read_text().startswith("<?xml")


def test_goals_are_held_against_what_was_found() -> None:
    def result(name: str, seconds: float) -> dict[str, object]:
        return {"name": name, "title": name, "seconds": seconds, "peak_bytes": 7e8, "bytes": 1e9, "fault": None}

    names = {"ingest-sedonadb-2-unchecked": 10.0, "ingest-sedonadb-2": 14.0, "ogr2ogr": 50.0, "ogr2ogr-makevalid": 60.0}
    found = {"results": [result(*each) for each in names.items()], "largest_geometry_bytes": 1e8}
    met = {goal: is_met for goal, _, _, is_met in report.goals(found, None)}
    assert met["faster than `ogr2ogr` by default"] is False
    assert met["what validation adds, compared with what `-makevalid` adds"] is True
    assert met["memory of a worker"] is True
