"""Several things at once, in order: frames are read ahead, and rendered on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item, Result = TypeVar("Item"), TypeVar("Result")
MAX_WORKERS = 8
END = object()


def num_workers() -> int:
    """How many frames are rendered at once: as many as PyTorch would use threads, which the user may limit."""
    return min(torch.get_num_threads(), MAX_WORKERS)


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Make the next item on another thread while the last one is worked on.

    Closing this, or an error on either side, ends both.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(next, iterator, END)
        while (item := ahead.result()) is not END:
            ahead = pool.submit(next, iterator, END)
            yield item


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Call a function for each item, several at a time, and give the results in the items' order.

    At most `workers + 1` items are held. Each call computes on one core: many calls at once use the cores
    better than one call that is split among them. Closing this, or an error, starts no further call.

    Args:
        function: may be called from several threads at once.
        items: taken one by one, on the caller's thread.
        workers: calls at a time; 1 calls on the caller's thread.
    """
    if workers == 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    threads_before = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            pool.shutdown()
            torch.set_num_threads(threads_before)  # the workers changed it for all threads to come
