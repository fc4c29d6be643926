"""Work in threads: numpy, shapely and geoarrow leave the interpreter to others while they compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

THREADS = 2  # each has a bucket or a piece of a level in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    take: Callable[[Result], object] = lambda _result: None,
    *,
    ahead: int = 1,
) -> None:
    """Apply a function to items in threads, and another one to its results, here and in the order of the items.

    At most ``ahead`` items more than there are threads are in memory, or their results. If an item may take much longer
    than its neighbours, there should be several: the other thread waits when they are used up. An error is raised here,
    once all threads have ended: that of the function, of the items, or of what takes the results.
    """
    with closing(mapped(function, items, ahead=ahead)) as results:
        for result in results:
            take(result)


def from_both_ends(function: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Apply a function to items in two threads, to the first ones in one of them and to the last ones in the other.

    If they are in the order of their sizes, a large one and a small one are in memory, and both threads end together.
    """
    waiting = deque(items)

    def work(take: Callable[[], Item]) -> None:
        while True:
            try:
                item = take()
            except IndexError:
                return
            try:
                function(item)
            except BaseException:
                waiting.clear()
                raise

    in_threads(work, (waiting.popleft, waiting.pop))


def mapped(function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = 1) -> Generator[Result]:
    """As `in_threads`, and yield the results."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= THREADS + ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
