"""Editions on Spark: SQL in its words, and a pointer that readers find whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from admin_boundaries.spark.dialect import in_spark, type_in_spark
from admin_boundaries.spark.edition import Edition, Table, publish, read_edition, version
from admin_boundaries.spark.storage import LocalStorage, is_local
from ingest.errors import IngestError

BEGAN = datetime(2026, 11, 27, 11, 0, 0, tzinfo=UTC)


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


def test_a_reader_finds_the_edition_that_was_published_last(tmp_path: Path) -> None:
    files = LocalStorage(tmp_path)
    assert read_edition(files, "marts") is None
    first = edition("first", "marts.a")
    publish(files, "marts", first, None, BEGAN)
    assert read_edition(files, "marts") == first
    second = edition("second", "marts.a", before=first, began=BEGAN + timedelta(hours=1))
    publish(files, "marts", second, first, BEGAN)
    assert read_edition(files, "marts") == second
    assert [path.name for path in tmp_path.glob("marts.json*")] == ["marts.json"]


def test_what_an_edition_replaced_is_kept_until_the_next_one(tmp_path: Path) -> None:
    files, before, made = LocalStorage(tmp_path), None, []
    for number, name in enumerate(("one", "two", "three")):
        began = BEGAN + timedelta(days=7 * number)
        now = edition(name, "marts.a", before=before, began=began)
        write(tmp_path, now)
        publish(files, "marts", now, before, began)
        made.append(now.tables["marts.a"].path)
        before = now
    assert [(tmp_path / path).exists() for path in made] == [False, True, True]


def test_what_a_failed_build_wrote_goes_when_it_is_a_day_old(tmp_path: Path) -> None:
    files = LocalStorage(tmp_path)
    old = edition("failed", "marts.a", began=BEGAN - timedelta(days=2))
    at_work = edition("at work", "marts.a", began=BEGAN - timedelta(hours=2))
    now = edition("now", "marts.a")
    for each in (old, at_work, now):
        write(tmp_path, each)
    publish(files, "marts", now, None, BEGAN)
    assert not (tmp_path / old.tables["marts.a"].path).exists()
    assert (tmp_path / at_work.tables["marts.a"].path).exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"layout": 1}', b'{"layout": 2, "tables": {}}'])
def test_a_pointer_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "marts.json").write_bytes(content)
    with pytest.raises(IngestError, match=r"marts\.json"):
        read_edition(LocalStorage(tmp_path), "marts")


def test_an_address_with_a_scheme_is_not_a_path_of_this_machine() -> None:
    assert [is_local(root) for root in ("marts", "/a:b/c", "file:///a", "s3a://bucket/a")] == [True, True, True, False]
