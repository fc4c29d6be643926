"""What dbt has parsed, kept for the next warehouse: parsing all files takes it five seconds, reading what it kept one.

dbt compares what it has kept with the files, the variables, the environment and the connection, and parses anew what
differs: everything for another connection. Of that, what it keeps has the warehouse's name and no more: the database is
called so, and the folder. Here it becomes the name of another warehouse; dbt still compares all the rest.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path

from dbt.contracts.graph.manifest import Manifest
from dbt.parser.manifest import ManifestLoader

PROJECT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"warehouse_\d{3}")  # all of one length, which stands before every text in the file
KEPT = "partial_parse.msgpack"


def name_of(env: Mapping[str, str]) -> str | None:
    """Return the name of a warehouse, or nothing where its database and its folder are not both called so."""
    name = env.get("PGDATABASE", "")
    is_named = NAME.fullmatch(name) and Path(env.get("WAREHOUSE_HOME", "")).name == name
    return name if is_named and "DBT_TARGET_PATH" in env else None


def take_over(store: Path, arguments: list[str]) -> None:
    """Give this process, which is about to become dbt, what dbt has parsed for another warehouse with these options.

    Parameters
    ----------
    store : Path
        Folder of what has been kept.
    arguments : list of str
        Of the command line: only the variables among them matter.
    """
    name, (kept, note) = name_of(os.environ), _paths(store, arguments)
    if name is None or not kept.exists() or (note.exists() and note.read_text() == kept.name):
        return
    other, _, parsed = kept.read_bytes().partition(b"\n")
    path = Path(os.environ["DBT_TARGET_PATH"]) / KEPT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(parsed.replace(other, name.encode()))
    is_partial_parsable = ManifestLoader.is_partial_parsable

    def of_this_connection(self: ManifestLoader, manifest: Manifest) -> tuple[bool, str | None]:
        theirs, ours = manifest.state_check.profile_hash, self.manifest.state_check.profile_hash
        path.write_bytes(path.read_bytes().replace(theirs.checksum.encode(), ours.checksum.encode()))
        manifest.state_check.profile_hash = ours
        return is_partial_parsable(self, manifest)

    ManifestLoader.is_partial_parsable = of_this_connection  # type: ignore[method-assign]


def keep(store: Path, arguments: list[str]) -> None:
    """Keep what this process, which was dbt, has parsed of the project; of a changed copy, only note that it has.

    Parameters
    ----------
    store : Path
        Folder of what has been kept.
    arguments : list of str
        Of the command line.
    """
    name, (kept, note) = name_of(os.environ), _paths(store, arguments)
    parsed = Path(os.environ.get("DBT_TARGET_PATH", "")) / KEPT
    if name is None or not parsed.exists():
        return
    if not kept.exists() and Path.cwd() == PROJECT:
        draft = kept.with_suffix(f".{os.getpid()}")
        draft.write_bytes(name.encode() + b"\n" + parsed.read_bytes())
        draft.replace(kept)
    note.write_text(kept.name)


def _paths(store: Path, arguments: list[str]) -> tuple[Path, Path]:
    """Return where is kept what was parsed with these options, and the note of what this warehouse has."""
    variables = [value for option, value in itertools.pairwise(arguments) if option == "--vars"]
    options = [os.environ.get("WAREHOUSE_TARGET", ""), os.environ.get("BOUNDARIES", ""), *variables]
    return store / hashlib.md5(repr(options).encode()).hexdigest(), store / os.environ.get("PGDATABASE", "unnamed")
