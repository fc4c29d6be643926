"""Puts an edition in the place of another between two statements of readers, and never within one.

PostgreSQL looks up the tables of a statement one after another, and locks each as it finds it. Schemas can be renamed
without any lock; but then a statement that is just being looked up finds old tables and new ones. So the old tables are
locked for the moment in which schemas are renamed: nobody who has found one is then looking for others.

Somebody who sits in a transaction, or whose query lasts for minutes, keeps his tables locked, but is not looking
anything up. He is not waited for. His tables are *gated* instead: sessions of ours queue up for them behind him, so
that whoever comes next has to wait as well, and finds the new ones afterwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import psycopg2
from psycopg2.errors import DeadlockDetected, LockNotAvailable, QueryCanceled

WITHOUT_GATES_SECONDS = 2.0
CALM_SECONDS = 1.0  # who has held a table for so long is not looking up others: that takes milliseconds
PAUSE_SECONDS = 0.01
LONG_PAUSE_SECONDS = 0.3  # readers who have waited at a gate are let through in between
QUEUE_SECONDS = 0.3
Session: TypeAlias = Any  # psycopg2 has no types
Holder: TypeAlias = tuple[int, str, int]  # process, transaction, table

HOLDERS = """
    select
        held.pid,
        held.virtualtransaction,
        held.relation,
        activity.backend_type is distinct from 'client backend', -- parallel workers, vacuum
        (
            coalesce(activity.state, 'hidden') <> 'active'
            or activity.query_start < clock_timestamp() - make_interval(secs => %(calm)s)
        )
        and not exists (select from pg_locks as awaited where awaited.pid = held.pid and not awaited.granted)
    from pg_locks as held
    inner join pg_stat_activity as activity
        on held.pid = activity.pid
    where held.locktype = 'relation'
        and held.granted
        and held.database = (select oid from pg_database where datname = current_database())
        and held.relation = any(%(tables)s)
        and held.pid <> all(%(ours)s)
"""
QUEUED = "select count(*) from pg_locks where locktype = 'relation' and relation = any(%s) and pid = any(%s)"


class Exchange:
    """The exchange of an edition for another.

    Parameters
    ----------
    session : psycopg2 connection
        Of the role that owns the marts; nothing is open in it.
    open_session : callable
        Opens another one.
    replace : str
        SQL that puts the new edition in the place of the old one, up to the commit; it may fail for want of a lock.
    ours : sequence of str
        The project's tables that are exchanged, as ``schema.table``.
    """

    def __init__(self, session: Session, open_session: Callable[[], Session], replace: str, ours: list[str]) -> None:
        self._session, self._open_session, self._replace = session, open_session, replace
        self._seen: dict[Holder, float] = {}
        self._tables = dict(
            self._rows(
                "select pg_class.oid::bigint, pg_class.oid::regclass::text from pg_class "
                "inner join pg_namespace on relnamespace = pg_namespace.oid "
                "where relkind = 'r' and nspname || '.' || relname = any(%s)",
                [ours],
            )
        )
        session.rollback()

    def run(self, patience: float) -> bool:
        """Exchange the editions.

        Parameters
        ----------
        patience : float
            Seconds after which to give up.

        Returns
        -------
        bool
            Whether it was done: if not, somebody holds what is needed.
        """
        began = time.monotonic()
        with ExitStack() as sessions:
            gates: list[Session] = []
            while True:
                is_gated = time.monotonic() - began > WITHOUT_GATES_SECONDS
                try:
                    with self._gated(self._held() if is_gated else {}, gates, sessions) as held:
                        self._attempt(held, [gate.info.backend_pid for gate in gates], is_gated=is_gated)
                    return True
                except (LockNotAvailable, DeadlockDetected):
                    self._session.rollback()
                if time.monotonic() - began > patience:
                    return False
                time.sleep(LONG_PAUSE_SECONDS if is_gated else PAUSE_SECONDS)

    def _attempt(self, held: dict[int, str], gates: list[int], *, is_gated: bool) -> None:
        """Exchange the editions, once nobody is looking anything up in the tables that are held."""
        free = [name for oid, name in self._tables.items() if oid not in held]
        self._execute(f"set local lock_timeout = '{QUEUE_SECONDS}s'")
        if free:
            self._execute(f"lock table {', '.join(free)} in access exclusive mode {'' if is_gated else 'nowait'}")
        self._execute(self._replace)
        until = time.monotonic() + QUEUE_SECONDS
        while not self._is_calm(list(held), gates):
            if time.monotonic() > until:
                raise LockNotAvailable
            time.sleep(PAUSE_SECONDS)
        self._session.commit()

    def _held(self) -> dict[int, str]:
        """Return the tables that others hold."""
        self._is_calm(list(self._tables), [])
        self._session.rollback()
        return {oid: self._tables[oid] for _, _, oid in self._seen}

    def _is_calm(self, tables: list[int], gates: list[int]) -> bool:
        """Return whether nobody who holds one of these tables is looking up others just now."""
        if not tables:
            return True
        now = time.monotonic()
        ours = [self._session.info.backend_pid, *gates]
        rows = self._rows(HOLDERS, {"tables": tables, "ours": ours, "calm": CALM_SECONDS})
        seen = {(pid, transaction, table): now for pid, transaction, table, *_ in rows}
        self._seen = {holder: self._seen.get(holder, now) for holder in seen}
        return all(
            is_helper or (is_quiet and now - self._seen[pid, transaction, table] >= CALM_SECONDS)
            for pid, transaction, table, is_helper, is_quiet in rows
        )

    @contextmanager
    def _gated(self, tables: dict[int, str], gates: list[Session], sessions: ExitStack) -> Iterator[dict[int, str]]:
        """Let nobody else get at these tables within the ``with`` block."""
        while len(gates) < len(tables):
            gates.append(self._open_session())
            sessions.callback(gates[-1].close)
        threads = [
            threading.Thread(target=_queue_up, args=(gate, name), daemon=True)
            for gate, name in zip(gates, tables.values(), strict=False)
        ]
        for thread in threads:
            thread.start()
        try:
            until = time.monotonic() + QUEUE_SECONDS
            pids = [gate.info.backend_pid for gate in gates]
            while tables and self._rows(QUEUED, [list(tables), pids]) != [(len(tables),)]:
                if time.monotonic() > until:
                    raise LockNotAvailable
                time.sleep(PAUSE_SECONDS)
            self._session.rollback()
            yield tables
        finally:
            for gate, thread in zip(gates, threads, strict=False):
                while thread.is_alive():
                    gate.cancel()
                    thread.join(PAUSE_SECONDS)
                gate.rollback()

    def _execute(self, sql: str) -> None:
        with self._session.cursor() as cursor:
            cursor.execute(sql)

    def _rows(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        with self._session.cursor() as cursor:
            cursor.execute(sql, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found


def _queue_up(gate: Session, table: str) -> None:
    """Wait for a table until called off, or until it is ours."""
    try:
        with gate.cursor() as cursor:
            cursor.execute("set local lock_timeout = 0")
            cursor.execute("set local statement_timeout = 0")
            cursor.execute(f"lock table {table} in access exclusive mode")
    except (QueryCanceled, psycopg2.OperationalError):
        return
