"""Work on several frames at once, with results in order: reading ahead, and calls side by side on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar, cast

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")
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


def read_ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """Fetch the next item on another thread while the caller works on the last one.

    Closing the generator, or an error on either side, ends both.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(next, iterator, END)
        while (item := ahead.result()) is not END:
            ahead = pool.submit(next, iterator, END)
            yield cast(Item, item)


class _Blas:
    """Limits NumPy's matrix library to one thread while calls run side by side, as PyTorch is limited for each.

    With more, each call waits for threads that the others hold: measured, rendering took half as long again. The
    limit holds for the whole process, so the first user sets it and the last one takes it away.
    """

    def __init__(self) -> None:
        self._lock, self._num_users = Lock(), 0
        self._limits: threadpool_limits | None = None

    @contextmanager
    def on_one_core(self) -> Iterator[None]:
        """Limit it as long as this or another user needs it."""
        with self._lock:
            self._num_users += 1
            self._limits = self._limits or threadpool_limits(1, "blas")
        try:
            yield
        finally:
            with self._lock:
                self._num_users -= 1
                if self._limits and not self._num_users:
                    self._limits.restore_original_limits()
                    self._limits = None


_blas = _Blas()


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Call a function for each item, several at a time, and yield the results in the items' order.

    At most `workers + 1` items are held. Each call computes on one core: several calls at once use the cores better
    than one call that is split among them. After closing the generator, or an error, no further call starts.

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
