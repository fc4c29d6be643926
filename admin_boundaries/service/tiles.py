"""The tiles of the build that is asked: out of the archive that was drawn of it."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path
from typing import Any

from pmtiles.reader import MmapSource, Reader

from ingest.errors import NotThere

SUFFIX = ".pmtiles"


class Tiles:
    """Archives of tiles, each named by the build that it is of.

    Parameters
    ----------
    folder : Path
        Where they are; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: tuple[str, Reader] | None = None

    def described(self, build: str) -> dict[str, Any]:
        """Return what a map has to know of the tiles: zooms, box and layers.

        Raises
        ------
        NotThere
            When none have been drawn of the build.
        """
        reader = self._reader(build)
        header, told = reader.header(), reader.metadata()
        box = [header[f"{side}_e7"] / 1e7 for side in ("min_lon", "min_lat", "max_lon", "max_lat")]
        return {
            "minzoom": header["min_zoom"],
            "maxzoom": header["max_zoom"],
            "bounds": box,
            "vector_layers": told.get("vector_layers", []),
        }

    def tile(self, build: str, zoom: int, column: int, row: int) -> bytes | None:
        """Return a tile, compressed by gzip; None of one that holds nothing.

        Raises
        ------
        NotThere
            When none have been drawn of the build, or there can be no such tile.
        """
        reader = self._reader(build)
        if not 0 <= zoom <= reader.header()["max_zoom"] or not (0 <= column < 1 << zoom and 0 <= row < 1 << zoom):
            raise NotThere(f"There is no tile {zoom}/{column}/{row}.", "/tiles.json says which zooms there are.")
        found: bytes | None = reader.get(zoom, column, row)
        return found

    def _reader(self, build: str) -> Reader:
        with self._lock:
            if self._open is None or self._open[0] != build:
                path = self._folder / f"{build}{SUFFIX}"
                try:
                    with path.open("rb") as file:
                        self._open = (build, Reader(MmapSource(file)))
                except FileNotFoundError as error:
                    raise NotThere(
                        "No tiles have been drawn of this build.",
                        "Run `python -m ingest serve --tiles`, or `python -m ingest map`, which draws them as well.",
                    ) from error
            return self._open[1]


def unpacked(tile: bytes) -> bytes:
    """Return a tile for a client that does not know gzip."""
    return gzip.decompress(tile)
