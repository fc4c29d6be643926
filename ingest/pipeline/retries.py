"""How often a task is tried again, and after which pauses: one line per kind of fault.

A fault that is not in the table is there for good: the task is not tried again. A pause is drawn at random from the
upper half of its length, so that workers that met one fault at once do not come back at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from ingest.errors import SourceInterrupted, TargetUnavailable


@dataclass(frozen=True)
class Policy:
    """How a kind of fault is met.

    Attributes
    ----------
    retries : int
        How often a task is tried again.
    seconds : float
        Pause before the first of them; each further one is twice as long.
    longest : float
        No pause is longer.
    """

    retries: int
    seconds: float
    longest: float

    def pause(self, retry: int) -> float:
        """Return the seconds to wait before a retry, counted from 0."""
        length = min(self.seconds * 2.0**retry, self.longest)
        return random.uniform(length / 2, length)  # noqa: S311  spreads load, guards nothing


NEVER = Policy(retries=0, seconds=0, longest=0)
POLICIES: dict[type[Exception], Policy] = {
    # a server that restarts is back within a minute; 8 retries last for one and a half
    TargetUnavailable: Policy(retries=8, seconds=1, longest=20),
    # five attempts at each address have failed already: the publisher is away for longer
    SourceInterrupted: Policy(retries=2, seconds=15, longest=30),
}
RETRIES = max(policy.retries for policy in POLICIES.values())


class Retried(Protocol):
    """What Huey counts down on a task; see `huey.api.Task`."""

    retries: int
    retry_delay: float


def policy(error: BaseException) -> Policy:
    """Return the line of the table for a fault: that of its own type, else of the nearest above it."""
    for kind in type(error).__mro__:
        if kind in POLICIES:
            return POLICIES[kind]
    return NEVER


def arrange(task: Retried, error: BaseException) -> bool:
    """Set on a task that failed whether and when Huey runs it again; doing so twice changes nothing.

    Parameters
    ----------
    task : huey.api.Task
        A task that was made with `RETRIES` retries; what it has left tells how many it used.
    error : BaseException
        Why it failed.

    Returns
    -------
    bool
        Whether it will run again.
    """
    found = policy(error)
    used = RETRIES - task.retries
    if used >= found.retries:
        task.retries = 0
        return False
    task.retry_delay = found.pause(used)
    return True
