"""Editions on Spark: SQL in its words, and a pointer that readers find whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from admin_boundaries.spark.dialect import in_spark, type_in_spark
from admin_boundaries.spark.edition import Edition, Table, publish, read_edition, version, view_name
from admin_boundaries.spark.storage import ArrowStorage, LocalStorage, Storage, is_local, storage
from ingest.errors import IngestError, TargetUnavailable

BEGAN = datetime(2026, 11, 27, 11, 0, 0, tzinfo=UTC)


def by_arrow(root: Path) -> Storage:
    """What reaches S3 by Spark Connect, on a disk."""
    return ArrowStorage(str(root), LocalFileSystem())


on_each_storage = pytest.mark.parametrize("storage_at", [LocalStorage, by_arrow])


def edition(build: str, *names: str, before: Edition | None = None, began: datetime = BEGAN) -> Edition:
    tables = {name: Table("parquet", f"{name.replace('.', '/')}/{version(build, began)}") for name in names}
    replaced = [table.path for table in before.tables.values()] if before else []
    return Edition(build, began.isoformat(), tables, replaced=replaced)


def write(root: Path, made: Edition) -> None:
    for table in made.tables.values():
        (root / table.path).mkdir(parents=True)
        (root / table.path / "part.parquet").write_bytes(b"rows")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("cast(null as text) as a, cast(b as double precision)", "cast(null as string) as a, cast(b as double)"),
        ("with a as materialized (select 1), b as not materialized (", "with a as (select 1), b as ("),
        ("'cast(x as text)' -- as text)", "'cast(x as text)' -- as text)"),
        (r"'it''s \d'", r"'it\'s \\d'"),
        ("'' || '|'", "'' || '|'"),
        ("cast(null as geometry('EPSG:4326')) as geom", "st_geomfromwkb(cast(null as binary)) as geom"),
        ("cast('t' as timestamp with time zone)", "cast('t' as timestamp)"),
        ("strpos(entry, '=')", "instr(entry, '=')"),
        ("select text, double from t", "select text, double from t"),
    ],
)
def test_a_statement_is_put_in_words_of_spark_outside_of_texts_and_comments(written: str, read: str) -> None:
    assert in_spark(written) == read


def test_a_type_is_named_as_spark_names_it() -> None:
    assert [type_in_spark(name) for name in ("text", "double precision", "text[]", "bigint")] == [
        *("string", "double", "array<string>", "bigint"),
    ]


@on_each_storage
def test_a_reader_finds_the_edition_that_was_published_last(
    tmp_path: Path, storage_at: Callable[[Path], Storage]
) -> None:
    files = storage_at(tmp_path)
    assert read_edition(files, "marts") is None
    first = edition("first", "marts.a")
    publish(files, "marts", first, None, BEGAN)
    assert read_edition(files, "marts") == first
    second = edition("second", "marts.a", before=first, began=BEGAN + timedelta(hours=1))
    publish(files, "marts", second, first, BEGAN)
    assert read_edition(files, "marts") == second
    assert [path.name for path in tmp_path.glob("marts.json*")] == ["marts.json"]


@on_each_storage
def test_what_an_edition_replaced_is_kept_until_the_next_one(
    tmp_path: Path, storage_at: Callable[[Path], Storage]
) -> None:
    files, before, made = storage_at(tmp_path), None, []
    for number, name in enumerate(("one", "two", "three")):
        began = BEGAN + timedelta(days=7 * number)
        now = edition(name, "marts.a", before=before, began=began)
        write(tmp_path, now)
        publish(files, "marts", now, before, began)
        made.append(now.tables["marts.a"].path)
        before = now
    assert [(tmp_path / path).exists() for path in made] == [False, True, True]


@on_each_storage
def test_what_a_failed_build_wrote_goes_when_it_is_a_day_old(
    tmp_path: Path, storage_at: Callable[[Path], Storage]
) -> None:
    files = storage_at(tmp_path)
    old = edition("failed", "marts.a", began=BEGAN - timedelta(days=2))
    at_work = edition("at work", "marts.a", began=BEGAN - timedelta(hours=2))
    now = edition("now", "marts.a")
    for each in (old, at_work, now):
        write(tmp_path, each)
    publish(files, "marts", now, None, BEGAN)
    assert not (tmp_path / old.tables["marts.a"].path).exists()
    assert (tmp_path / at_work.tables["marts.a"].path).exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"layout": 2}', b'{"layout": 1, "tables": {}}'])
def test_a_pointer_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "marts.json").write_bytes(content)
    with pytest.raises(IngestError, match=r"marts\.json"):
        read_edition(LocalStorage(tmp_path), "marts")


def test_an_address_with_a_scheme_is_not_a_path_of_this_machine() -> None:
    assert [is_local(root) for root in ("marts", "/a:b/c", "file:///a", "s3a://bucket/a")] == [True, True, True, False]


def test_a_table_is_known_by_one_name_without_a_schema() -> None:
    assert [view_name(name) for name in ("marts.admin_units", "x")] == ["marts__admin_units", "x"]


def test_by_spark_connect_marts_are_on_a_disk_or_on_s3(tmp_path: Path) -> None:
    remote = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session"})()
    assert type(storage(str(tmp_path), remote)) is LocalStorage
    with pytest.raises(TargetUnavailable, match=r"hdfs://a/b cannot be reached through Spark Connect"):
        storage("hdfs://a/b", remote)
