"""Several things at once, in order: frames are read ahead, and rendered on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

Item, Result = TypeVar("Item"), TypeVar("Result")
MAX_WORKERS = 8
END = object()


def num_workers() -> int:
    """How many frames are rendered at once: as many as PyTorch would use threads, which the user may limit."""
    return min(torch.get_num_threads(), MAX_WORKERS)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute on the calling thread alone, so that this thread's clock tells the whole time."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)


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


class _Blas:
    """NumPy's matrix library: as long as calls run side by side anywhere, each has one thread, as PyTorch gives it.

    Otherwise every call would wait for the others' threads: measured, rendering took half as long again.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._limits = Lock(), 0, None

    @contextmanager
    def on_one_core(self) -> Iterator[None]:
        """Limit it until the last user has left."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._limits = threadpool_limits(1, "blas")
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._limits.restore_original_limits()


_blas = _Blas()


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
    with _blas.on_one_core(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
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
