"""Many points are divided over sessions of PostgreSQL and come back whole, in their order."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import numpy as np
import psycopg
import pytest

from admin_boundaries.locate import Row
from admin_boundaries.postgres_warehouse import PostgresWarehouse
from ingest.errors import MartsMissing
from ingest.settings import Postgres

WHERE = Postgres("h", 5432, "u", "", "d")


class Server:
    """A server whose answer to a point is its coordinates."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.sessions = 0
        self.answers = threading.local()

    def connect(self) -> Server:
        """Open another session."""
        self.sessions += 1
        return self

    def execute(self, _query: str, points: tuple[list[float], list[float]]) -> Server:
        """Answer for some points."""
        self.asked.append(len(points[0]))
        self.answers.rows = list(zip(*points, strict=True))
        return self

    def fetchall(self) -> list[Row]:
        """Return the answers."""
        rows: list[Row] = self.answers.rows
        return rows


@pytest.mark.parametrize("count", [0, 1, 1999, 2001, 4001, 6001, 7999, 8003, 20_001])
def test_every_point_is_answered_once_and_in_its_place(count: int) -> None:
    server, lons = Server(), np.arange(count, dtype=np.float64)
    answers = PostgresWarehouse(server.connect, WHERE, ExitStack(), "gadm").locate_points(lons, -lons)
    assert answers == [(lon, -lon) for lon in lons.tolist()]


def test_a_percent_sign_in_a_query_is_not_taken_for_a_parameter() -> None:
    asked: list[tuple[str, list[str]]] = []

    class Recorder:
        def execute(self, query: str, parameters: list[str]) -> Recorder:
            asked.append((query, parameters))
            return self

        def fetchall(self) -> list[Row]:
            return []

    warehouse = PostgresWarehouse(Recorder, WHERE, ExitStack(), "gadm")
    warehouse.rows("select gid from marts.admin_units where path like 'Togo%' and gid = ?", ["TGO"])
    assert asked == [("select gid from marts.admin_units where path like 'Togo%%' and gid = %s", ["TGO"])]


@pytest.mark.parametrize(("count", "sessions"), [(1, 1), (3999, 1), (4001, 2), (8001, 4), (80_001, 4)])
def test_points_are_shared_out_evenly_over_as_many_sessions_as_they_are_worth(count: int, sessions: int) -> None:
    server, lons = Server(), np.zeros(count)
    PostgresWarehouse(server.connect, WHERE, ExitStack(), "gadm").locate_points(lons, lons)
    assert (server.sessions, len(server.asked)) == (sessions, sessions)
    assert max(server.asked) - min(server.asked) < sessions


@pytest.mark.parametrize("error", [psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedColumn])
def test_a_function_of_older_marts_is_replaced_by_a_build(error: type[psycopg.Error]) -> None:
    class Older:
        def execute(self, query: str, _parameters: object = ()) -> Older:
            if "locate" in query:
                raise error("function marts.locate(numeric, numeric) does not exist")
            return self

        def fetchall(self) -> list[Row]:
            return []

    warehouse = PostgresWarehouse(Older, WHERE, ExitStack(), "gadm")
    with pytest.raises(MartsMissing, match="lacks some of the marts") as caught, warehouse.expected_failures():
        warehouse.locate(1.0, 2.0)
    assert "dbt build" in caught.value.hint
