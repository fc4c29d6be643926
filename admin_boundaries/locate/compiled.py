"""Functions that numba compiles when they are first called, and keeps for the next process."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

Given = ParamSpec("Given")
Result = TypeVar("Result")


def compiled(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Compile a function of numbers and arrays, which leaves the interpreter to other threads.

    What is compiled is kept beside the source, or else among the user's caches. Where neither can be written, each
    process compiles it anew, which takes some seconds.
    """
    made: Callable[Given, Result]
    try:
        made = njit(nogil=True, cache=True)(function)
    except RuntimeError:
        made = njit(nogil=True)(function)
    return made
