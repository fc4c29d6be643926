"""The staging folder of a hierarchical dataset, written from its entry in the catalog."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ingest.catalog import Column, Dataset, Derived, Table
from ingest.errors import UsageError
from ingest.settings import BOUNDARIES

LEVELS = range(6)
ORIGIN = ("run_id", "release", "file_no", "source_file", "source_layer", "source_fid")
TEXTS = ("name", "name_local", "name_variants", "type_local", "type_english", "hasc_code", "iso_code", "cc_code")
RIGHTS = ("licence", "attribution", "source_name")
FACTS = (
    *("vertex_count", "area_km2", "area_km2_in_source", "point_lon", "point_lat", "min_lon", "min_lat"),
    *("max_lon", "max_lat", "west_lon", "east_lon"),
)
# names of documentation blocks in models/docs/columns.md, where they differ from that of the column
BLOCKS = {
    **{"name": "unit_name", "is_valid": "is_valid_in_source", "parent_gid": "source_parent_gid"},
    "set_aside_reason": "staged_set_aside_reason",
}
MAX_WIDTH = 120


def staging_folder(dataset: Dataset) -> dict[str, str]:
    """Return the files of a dataset's folder in ``models/staging``, by name.

    Parameters
    ----------
    dataset : Dataset
        Of the catalog.

    Returns
    -------
    dict of str to str
        Its sources, the descriptions of its views, and a view for each level; a level that the dataset does not have is
        an empty view, so that all datasets have one shape.

    Raises
    ------
    UsageError
        When the dataset has no levels, or the catalog does not say which column is the key.
    """
    if not dataset.is_hierarchy:
        raise UsageError(f"{dataset.name} has no levels, so that its staging views are written by hand.")
    for table in dataset.tables:
        if not _raw_columns(table).get("gid"):
            raise UsageError(
                f"The catalog does not say which column of {table.name} is the key.", "Add `as: gid` to that column."
            )
    tables = {table.level: table for table in dataset.tables}
    views = {f"stg_{dataset.name}__adm_{level}.sql": _view(dataset, level, tables.get(level)) for level in LEVELS}
    return {
        f"_{dataset.name}__sources.yml": _lines(_sources(dataset)),
        f"_{dataset.name}__models.yml": _lines(_models(dataset)),
        **views,
    }


def write(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files into a folder, which is made if need be.

    Parameters
    ----------
    files : mapping of str to str
        Texts by name.
    folder : Path
        Of the dataset.

    Returns
    -------
    list of Path
        The files that were not there like that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed = [
        folder / name for name, text in files.items() if not (folder / name).exists() or _read(folder / name) != text
    ]
    for path in changed:
        path.write_text(files[path.name], encoding="utf-8")
    return changed


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _lines(lines: Iterator[str]) -> str:
    return "\n".join(lines) + "\n"


def _view(dataset: Dataset, level: int, table: Table | None) -> str:
    is_built = f"enabled=(boundaries() == '{dataset.name}')"
    if dataset.derived and dataset.derived.level == level:
        return f"{{{{ config({is_built}) }}}}\n\n{_union(dataset, dataset.derived)}"
    if table is None:
        return f"{{{{ config({is_built}) }}}}\n\n{{{{ staged_no_level({level}) }}}}\n"
    raw = _raw_columns(table)
    joined = {name: f"{{'joined': {_listed(columns)}}}" for name, columns in table.joined}
    listed = {**{name: _listed(columns) for name, columns in raw.items()}, **joined}
    columns = [(name, listed[name]) for name in _staged(level) if name in listed]
    codes = [(name.removeprefix("code:"), value) for name, value in listed.items() if name.startswith("code:")]
    missing = ", ".join(map(_quoted, dataset.missing_text))
    constants = [*_constants(dataset), *_above(dataset, level)]
    known = {*listed, *dict(constants)}
    names_parents = level == dataset.tables[0].level or known & {"parent_gid", f"gid_{level - 1}"}
    properties = [
        *([] if names_parents else ["has_parents_by_geometry"]),
        *(["is_ragged"] if dataset.is_ragged else []),
    ]
    meta = f", meta={{{', '.join(f'{_quoted(name)}: true' for name in properties)}}}" if properties else ""
    return (
        f"{{{{ config({is_built}{meta}) }}}}\n\n"
        "{{ staged_admin_level(\n"
        f"    '{dataset.name}',\n"
        f"    {level},\n"
        f"    columns={_mapping(columns)},\n"
        f"    codes={_mapping(codes)},\n"
        f"    constants={_mapping((name, _quoted(value)) for name, value in constants)},\n"
        f"{_of_releases(dataset)}"
        f"    missing=[{missing}],\n"
        f"{_of_other_rows(dataset, level)}"
        ") }}\n"
    )


def _union(dataset: Dataset, derived: Derived) -> str:
    return (
        "{{ staged_union(\n"
        f"    '{dataset.name}',\n"
        f"    {derived.level},\n"
        f"    gid={_quoted(derived.gid)},\n"
        f"    name={_quoted(derived.name)},\n"
        f"    codes={_mapping((scheme, _quoted(code)) for scheme, code in derived.codes.items())},\n"
        f"    constants={_mapping((name, _quoted(value)) for name, value in _constants(dataset))},\n"
        f"{_of_releases(dataset)}"
        ") }}\n"
    )


def _staged(level: int) -> tuple[str, ...]:
    return (
        "gid",
        "parent_gid",
        "publisher_parent_gid",
        *(f"gid_{ancestor}" for ancestor in range(level)),
        *TEXTS,
        *RIGHTS,
    )


def _constants(dataset: Dataset) -> Iterator[tuple[str, str]]:
    values = (dataset.licence, dataset.attribution, dataset.source_name)
    yield from ((name, value) for name, value in zip(RIGHTS, values, strict=True) if value)


def _above(dataset: Dataset, level: int) -> Iterator[tuple[str, str]]:
    """Yield the key of the derived unit, which all units below it have as an ancestor."""
    if dataset.derived and level > dataset.derived.level:
        yield f"gid_{dataset.derived.level}", dataset.derived.gid


def _of_releases(dataset: Dataset) -> str:
    """Return the argument that says what differs by release, if anything does."""
    rights = [
        f"        {_quoted(release)}: {{\n"
        + "".join(f"            '{name}': {_quoted(value)},\n" for name, value in each.items())
        + "        },\n"
        for release, each in dataset.rights.items()
    ]
    return f"    of_releases={{\n{''.join(rights)}    }},\n" if rights else ""


def _of_other_rows(dataset: Dataset, level: int) -> str:
    """Return the arguments that say where areas and nested units are, if they are in other rows or tables."""
    text = ""
    if dataset.areas:
        text += f"    areas={_mapping((name, _quoted(value)) for name, value in asdict(dataset.areas).items())},\n"
    if dataset.nested and level in dataset.levels[-2:]:
        text += f"    nested={_quoted(dataset.nested)},\n"
    return text


def _raw_columns(table: Table) -> dict[str, list[str]]:
    """Return the raw columns that each staged one is made of."""
    found: dict[str, list[str]] = {}
    for column in table.columns:
        for name in column.staged_as:
            found.setdefault(name, []).append(column.name)
    return found


def _mapping(pairs: Iterable[tuple[str, str]]) -> str:
    pairs = list(pairs)
    if not pairs:
        return "{}"
    return "{\n" + "".join(f"        '{name}': {value},\n" for name, value in pairs) + "    }"


def _listed(names: Sequence[str]) -> str:
    """Return a column, or several whose texts are variants of one name, as Jinja."""
    return _quoted(names[0]) if len(names) == 1 else f"[{', '.join(map(_quoted, names))}]"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _is_built(name: str) -> str:
    """Return the condition that the environment asks for this dataset, as YAML."""
    asked = f"in ['', '{name}']" if name == BOUNDARIES else f"== '{name}'"
    return f"\"{{{{ env_var('BOUNDARIES', '') {asked} }}}}\""


def _sources(dataset: Dataset) -> Iterator[str]:
    name = dataset.name
    yield from ("version: 2", "", "sources:", f"  - name: {name}", "    description: >")
    yield from _folded(f"{dataset.title}, as the last published run of ingest loaded it. {dataset.licence}.", 6)
    yield from (
        "    schema: raw",
        "    config:",
        f"      enabled: {_is_built(name)}",
        "      freshness:",
        "        warn_after: {count: 400, period: day}",
        "      # the ledger knows when the data was last fetched, or last found to be the publisher's newest",
        "      loaded_at_query: |",
        "        select max(finished_at)",
        "        from {{ source('ledger', 'ingest_runs') }}",
        f"        where dataset = '{name}' and state in ('published', 'unchanged')",
        "      meta:",
        "        # the embedded target reads ingest's files in place; PostgreSQL has views and ignores this",
        "        external_location: >-",
        "          read_parquet('{{ env_var('WAREHOUSE_HOME', '') or '.warehouse' }}"
        f"/raw/{name}/current/{{name}}/*.parquet')",
        "    tables:",
    )
    for table in dataset.tables:
        yield f"      - name: {table.name}"
        what = f"One row per feature of level {table.level} of {dataset.source_name}, as the file has it."
        yield f"        description: {what}"
        yield "        data_tests:"
        yield "          - rows_agree_with_ledger:"
        yield f"              arguments: {{dataset: {name}, table_name: {table.name}}}"
        yield f"              config: {{enabled: {_is_built(name)}}}"
        yield "        columns:"
        named = [(column.name, _description(column)) for column in table.columns]
        others = [
            (column, _block(column)) for column in (*ORIGIN, "geom", *FACTS, "is_valid", "invalid_reason", "geom_hash")
        ]
        yield from _columns([*others[: len(ORIGIN)], *named, *others[len(ORIGIN) :]], 10)


def _models(dataset: Dataset) -> Iterator[str]:
    yield from ("version: 2", "", "models:")
    levels = {table.level for table in dataset.tables}
    for level in LEVELS:
        what = f"One row per feature of level {level} of {dataset.source_name or dataset.title}, as published."
        how = "Names as on every other level, text cleaned; nothing joined, nothing filtered."
        if dataset.derived and dataset.derived.level == level:
            what = f"One row: {dataset.derived.name}, the union of all units of level {level + 1}."
        elif level not in levels:
            what = f"No rows: {dataset.source_name or dataset.title} has no level {level}."
        elif dataset.areas:
            what = (
                f"One row per unit of level {level} of {dataset.source_name}, with its area, and one per area that no "
                "unit takes."
            )
            how = "Names as on every other level, text cleaned."
        yield f"  - name: stg_{dataset.name}__adm_{level}"
        yield "    description: >"
        yield from _folded(f"{what} {how}", 6)
        yield "    data_tests:"
        yield "      - unique_combination: {arguments: {columns: [file_no, source_file, source_layer, source_fid]}}"
        yield "    columns:"
        ancestors = [(f"gid_{ancestor}", _block("source_gid")) for ancestor in range(level)]
        keys = [
            *((name, _block(name)) for name in ("source_rows", "source_level", "set_aside_reason", "admin_level")),
            ("gid", _block("raw_gid")),
            ("parent_gid", _block("parent_gid")),
            ("publisher_parent_gid", _block("publisher_parent_gid")),
        ]
        others = [
            (name, _block(name))
            for name in (*TEXTS, *RIGHTS, "codes", *FACTS, "is_valid_in_source", "invalid_reason", "geom_hash", "geom")
        ]
        yield from _columns([*((name, _block(name)) for name in ORIGIN), *keys, *ancestors, *others], 6)


def _block(name: str) -> str:
    return f"\"{{{{ doc('{BLOCKS.get(name, name)}') }}}}\""


def _description(column: Column) -> str:
    """Return the description of a raw column, as YAML."""
    if not column.staged_as:
        return _block("source_column")
    name = column.staged_as[0]
    if name.startswith("code:"):
        return _block("source_code")
    if name == "gid":
        return _block("raw_gid")
    return _block("source_gid" if name.startswith("gid_") else name)


def _columns(columns: Sequence[tuple[str, str]], indent: int) -> Iterator[str]:
    yield from (f"{' ' * indent}- {{name: {name}, description: {description}}}" for name, description in columns)


def _folded(text: str, indent: int) -> Iterator[str]:
    margin = " " * indent
    yield from textwrap.wrap(
        text,
        MAX_WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
