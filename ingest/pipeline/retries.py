"""How often a failed task is retried, and after which pauses: one line per type of error.

A task that fails with any other error is not retried, because that would not help. Pauses are random, between half and
all of their length, so that workers that hit the same fault together do not return together.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ingest.errors import CopyDamaged, SourceInterrupted, TargetUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Policy:
    """How a task that failed with an error is retried.

    Attributes
    ----------
    retries : int
        Maximum number of retries.
    seconds : float
        Pause before the first retry, in seconds; it doubles with each further retry.
    longest : float
        Upper limit of a pause, in seconds.
    """

    retries: int
    seconds: float
    longest: float

    def pause(self, retry: int) -> float:
        """Return the seconds to wait before a retry; ``retry`` counts from 0."""
        length = min(self.seconds * 2.0**retry, self.longest)
        return random.uniform(length / 2, length)  # noqa: S311  no security depends on it


NEVER = Policy(retries=0, seconds=0, longest=0)
POLICIES: dict[type[Exception], Policy] = {
    # a server that restarts is back within a minute; 8 retries take up to one and a half
    TargetUnavailable: Policy(retries=8, seconds=1, longest=20),
    # the download has already made five attempts at each address: the outage is a longer one
    SourceInterrupted: Policy(retries=2, seconds=15, longest=30),
    # what was changed is made again before the next attempt
    CopyDamaged: Policy(retries=3, seconds=0.1, longest=2),
}
RETRIES = max(policy.retries for policy in POLICIES.values())


class Retried(Protocol):
    """The attributes of a `huey.api.Task` that control retries; Huey counts ``retries`` down."""

    retries: int
    retry_delay: float


def policy(error: BaseException) -> Policy:
    """Return the policy for an error: that of its type, or else of the nearest base class that has one."""
    for kind in type(error).__mro__:
        if kind in POLICIES:
            return POLICIES[kind]
    return NEVER


def arrange(task: Retried, error: BaseException) -> bool:
    """Set whether and when Huey runs a failed task again. Calling it twice for the same failure is harmless.

    Parameters
    ----------
    task : huey.api.Task
        A task that was created with `RETRIES` retries. The number left shows how many it has used.
    error : BaseException
        The error that it failed with.

    Returns
    -------
    bool
        Whether the task will run again.
    """
    found = policy(error)
    used = RETRIES - task.retries
    if used >= found.retries:
        task.retries = 0
        return False
    task.retry_delay = found.pause(used)
    return True


def patiently(do: Callable[[], T], seconds: float) -> T:
    """Return what a function returns, tried again as long as a server is away, for so many seconds at most.

    Raises
    ------
    TargetUnavailable
        The last one.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return do()
        except TargetUnavailable as error:
            if time.monotonic() + 1 > deadline:
                raise
            log.warning("%s It is tried again.", error)
            time.sleep(1)
