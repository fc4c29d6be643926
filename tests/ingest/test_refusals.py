"""What a server says when a limit is reached becomes an error that names the limit and what to set."""

from __future__ import annotations

import pytest

from ingest import refusals
from ingest.errors import DiskFull, ServerLimit, TargetUnavailable
from ingest.pipeline import retries

MANY = 'connection to server at "h", port 1 failed: FATAL:  '


@pytest.mark.parametrize(
    ("sqlstate", "message", "kind", "said"),
    [
        (None, MANY + "sorry, too many clients already", TargetUnavailable, "max_connections"),
        (
            None,
            MANY + "remaining connection slots are reserved for roles with SUPERUSER",
            TargetUnavailable,
            "max_conn",
        ),
        (None, MANY + 'too many connections for role "l"', TargetUnavailable, "alter role NAME connection limit"),
        (None, MANY + 'too many connections for database "d"', TargetUnavailable, "alter database NAME connection"),
        (None, MANY + "the database system is starting up", TargetUnavailable, "Wait until the server has started"),
        ("53300", "FATAL:  sorry, too many clients already", TargetUnavailable, "max_connections"),
        ("25006", "cannot execute INSERT in a read-only transaction", TargetUnavailable, "default_transaction_read_on"),
        ("25006", "cannot execute INSERT during recovery", TargetUnavailable, "It is a standby"),
        ("55P03", "canceling statement due to lock timeout", TargetUnavailable, "has finished"),
        (
            "25P03",
            "terminating connection due to idle-in-transaction timeout",
            TargetUnavailable,
            "idle_in_transaction",
        ),
        ("0A000", "cannot access temporary or unlogged relations during recovery", TargetUnavailable, "standby"),
        ("57P05", "terminating connection due to idle-session timeout", TargetUnavailable, "idle_session_timeout"),
        ("25P04", "terminating connection due to transaction timeout", ServerLimit, "transaction_timeout"),
        ("57014", "canceling statement due to statement timeout", ServerLimit, "statement_timeout"),
        ("53400", "temporary file size exceeds temp_file_limit (64kB)", ServerLimit, "temp_file_limit"),
        ("53200", "out of shared memory\nHINT:  You might need to", ServerLimit, "max_locks_per_transaction"),
        ("53100", "could not extend file: No space left on device", DiskFull, "Free some space"),
    ],
)
def test_a_limit_that_is_reached_is_named_with_what_to_set(
    sqlstate: str | None, message: str, kind: type[Exception], said: str
) -> None:
    found = refusals.error_of("l@h:1/d", sqlstate, message)
    assert type(found) is kind
    assert found.message.startswith("l@h:1/d")
    assert message.splitlines()[0].removeprefix(MANY) in found.message
    assert said in found.hint
    assert (retries.policy(found) is not retries.NEVER) is (kind is TargetUnavailable)


def test_what_the_driver_says_around_the_words_of_the_server_is_left_out() -> None:
    words = "canceling statement due to statement timeout"
    found = refusals.error_of(
        "l@h:1/d", "57014", f"CANCELLED: [libpq] Failed to execute query '\nSELECT\n': ERROR:  {words}\n"
    )
    assert found is not None
    assert found.message == f"l@h:1/d limits the time of a statement: {words}."


def test_of_several_hosts_the_one_with_a_limit_is_quoted() -> None:
    found = refusals.error_of("l", None, f"connection refused\n{MANY}sorry, too many clients already\n")
    assert found is not None
    assert "refused" not in found.message


@pytest.mark.parametrize(
    ("sqlstate", "message"),
    [
        (None, "server closed the connection unexpectedly"),
        (None, 'password authentication failed for user "l"'),
        ("57014", "canceling statement due to user request"),
        ("42501", "permission denied for table too many clients already"),
        (None, ""),
    ],
)
def test_anything_else_is_no_limit(sqlstate: str | None, message: str) -> None:
    assert refusals.error_of("l", sqlstate, message) is None


def test_a_server_that_is_away_is_asked_again_for_as_long_as_one_is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: next(moments))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    asked: list[int] = []

    def ask(after: int) -> str:
        asked.append(after)
        if len(asked) < after:
            raise TargetUnavailable("away")
        return "there"

    assert retries.patiently(lambda: ask(4), 10) == "there"
    for seconds, often in ((5, 5), (0, 1)):
        asked.clear()
        with pytest.raises(TargetUnavailable):
            retries.patiently(lambda: ask(99), seconds)
        assert len(asked) == often
