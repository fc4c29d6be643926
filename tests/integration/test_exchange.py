"""An edition takes the place of another on PostgreSQL: no statement finds tables of both, and nobody stops it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg2
import pytest

from dbt.adapters.postgis import exchange
from tests.integration import servers

pytestmark = pytest.mark.servers

TABLES = ("marts.one", "marts.two", "marts.three")
ALL = "select one.edition, two.edition, three.edition from marts.one, marts.two, marts.three"
REPLACE = """
    alter schema marts rename to marts_old;
    alter schema marts_next rename to marts
"""
PATIENCE = 20.0
SECONDS = 6.0


@pytest.fixture
def dsn(postgres: servers.Postgres) -> Iterator[str]:
    server = f"host=127.0.0.1 port={postgres.port} user=warehouse"
    with psycopg.connect(f"{server} dbname=postgres", autocommit=True) as admin:
        admin.execute("create database exchange")
        try:
            with psycopg.connect(f"{server} dbname=exchange", autocommit=True) as connection:
                for schema, edition in (("marts", "A"), ("marts_next", "B")):
                    connection.execute(f"create schema {schema}")  # type: ignore[arg-type]
                    for table in TABLES:
                        name = table.replace("marts.", f"{schema}.")
                        connection.execute(f"create table {name} as select '{edition}' as edition")  # type: ignore
            yield f"{server} dbname=exchange"
        finally:
            admin.execute("drop database exchange with (force)")


@contextmanager
def exchanging(dsn: str, patience: float = PATIENCE) -> Iterator[Callable[[], bool]]:
    """Exchange A for B in a thread; yield what waits for the end, and says whether it was done."""
    done: list[bool] = []
    with psycopg2.connect(dsn) as session:
        run = exchange.Exchange(session, lambda: psycopg2.connect(dsn), REPLACE, list(TABLES)).run
        thread = threading.Thread(target=lambda: done.append(run(patience)))
        thread.start()

        def end() -> bool:
            thread.join(PATIENCE + 10)
            assert not thread.is_alive()
            return done == [True]

        yield end
        end()
    session.close()


def ask(dsn: str, sql: str = ALL) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(sql).fetchall()  # type: ignore[arg-type]


def wait_until_blocked(dsn: str, sql: str) -> None:
    until = time.monotonic() + PATIENCE
    while not ask(dsn, f"select from pg_stat_activity where wait_event_type = 'Lock' and query = '{sql}'"):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_who_sits_in_a_transaction_is_not_waited_for_and_whoever_comes_next_finds_the_new_tables(dsn: str) -> None:
    with psycopg.connect(dsn) as idle:
        idle.execute("select * from marts.one, marts.two")
        with exchanging(dsn) as end:
            assert end()
        assert ask(dsn) == [("B", "B", "B")]
        assert idle.execute(ALL).fetchall() == [("B", "B", "B")]  # type: ignore[arg-type]


def test_who_has_found_one_table_and_looks_for_the_next_is_waited_for(dsn: str) -> None:
    found: list[tuple[Any, ...]] = []
    with psycopg.connect(dsn) as idle, psycopg.connect(dsn) as blocking:
        idle.execute("select * from marts.one")
        blocking.execute("lock table marts.two in access exclusive mode")
        reader = threading.Thread(target=lambda: found.extend(ask(dsn)))
        reader.start()
        wait_until_blocked(dsn, ALL)  # it has found the first table, and waits for the second
        with exchanging(dsn) as end:
            time.sleep(exchange.WITHOUT_GATES_SECONDS + 2 * exchange.CALM_SECONDS)
            assert ask(dsn, "select to_regnamespace('marts_old') is null") == [(True,)]
            blocking.rollback()
            reader.join()
            assert found == [("A", "A", "A")]
            assert end()
    assert ask(dsn) == [("B", "B", "B")]


def test_a_query_that_lasts_is_not_waited_for(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        slow = threading.Thread(
            target=lambda: connection.execute("select pg_sleep(8), one.edition from marts.one").fetchall()
        )
        slow.start()
        time.sleep(0.5)
        with exchanging(dsn) as end:
            assert end()
        assert slow.is_alive()
        slow.join()


def test_a_lock_on_what_has_to_be_locked_ends_in_a_refusal_that_changes_nothing(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("lock table marts.one in access exclusive mode")
        stuck = threading.Thread(target=lambda: ask(dsn))
        stuck.start()
        wait_until_blocked(dsn, ALL)
        with psycopg.connect(dsn) as idle:
            idle.execute("lock table marts.three in access exclusive mode")
            with exchanging(dsn, patience=3.0) as end:
                connection.rollback()
                wait_until_blocked(dsn, ALL)  # it holds two tables, and waits for the third
                assert not end()
            assert ask(dsn, "select to_regnamespace('marts_old') is null") == [(True,)]
        stuck.join()
    assert ask(dsn) == [("A", "A", "A")]


def test_no_gate_is_left(dsn: str) -> None:
    others = "select count(*) from pg_stat_activity where datname = 'exchange' and pid <> pg_backend_pid()"
    with psycopg.connect(dsn) as idle:
        idle.execute("select * from marts.one, marts.two, marts.three")
        with exchanging(dsn) as end:
            assert end()
        until = time.monotonic() + PATIENCE
        while ask(dsn, others) != [(1,)]:  # a session of the server ends a moment after it was closed
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.slow
def test_nobody_among_many_readers_is_answered_from_two_editions(dsn: str) -> None:
    answers: list[tuple[Any, ...]] = []
    ended = threading.Event()

    def read() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not ended.is_set():
                answers.extend(connection.execute(ALL).fetchall())  # type: ignore[arg-type]
                time.sleep(random.uniform(0, 0.01))

    def sit() -> None:
        with psycopg.connect(dsn) as connection:
            while not ended.is_set():
                connection.execute("select * from marts.one")
                ended.wait(exchange.WITHOUT_GATES_SECONDS)
                connection.rollback()

    threads = [threading.Thread(target=each) for each in (read, read, read, sit)]
    for thread in threads:
        thread.start()
    until, exchanges = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        with exchanging(dsn) as end:
            exchanges += end()
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("alter schema marts_old rename to marts_next")
    ended.set()
    for thread in threads:
        thread.join()
    assert exchanges > 1
    assert {len(set(answer)) for answer in answers} == {1}
    assert {answer[0] for answer in answers} == {"A", "B"}
