"""The queue of runs: first come, first served, one at a time, and of bounded length."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from personatalk.errors import PersonaTalkError
from personatalk.webapp import strings

POLL_S = 0.2  # how often a waiting run is told its place, and may give up


class BusyError(PersonaTalkError):
    """The queue is full."""


class RunQueue:
    """Lets one run at a time through.

    Gradio's own queue counts all events of the page together; this one counts runs alone, tells each its place, and
    lets a waiting run be stopped.

    Args:
        max_waiting: runs that may wait.
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self._tickets: list[object] = []
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, wait: Callable[[int], None] | None = None) -> Iterator[None]:
        """Hold the pipeline, after those who came before.

        Args:
            wait: told every POLL_S how many runs are before this one; may raise to leave the queue.

        Raises:
            BusyError: the queue is full.
        """
        ticket = object()
        with self._changed:
            if len(self._tickets) > self.max_waiting:
                raise BusyError(strings.BUSY.format(count=len(self._tickets) - 1))
            self._tickets.append(ticket)
        try:
            while before := self._before(ticket):
                if wait:
                    wait(before)
                with self._changed:
                    if self._tickets[0] is not ticket:
                        self._changed.wait(POLL_S)
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()

    def _before(self, ticket: object) -> int:
        with self._changed:
            return self._tickets.index(ticket)
