"""The queue of runs: first come, first served, one at a time, and of bounded length."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from personatalk.errors import PersonaTalkError
from personatalk.webapp import strings
from personatalk.webapp.languages import said

POLL_S = 0.2  # how often a waiting run is told its place, and may give up
LEAST_LEFT_S = 2.0  # of a run that takes longer than it was estimated to
Wait = Callable[[int, float], None]


class BusyError(PersonaTalkError):
    """The queue is full."""


class Ticket:
    """A run's place.

    Args:
        seconds: that the run is estimated to take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._began = seconds, 0.0

    def begin(self) -> None:
        """Note that the run has begun."""
        self._began = time.monotonic()

    @property
    def left_s(self) -> float:
        """Seconds until the run is over, as far as is known."""
        gone = time.monotonic() - self._began if self._began else 0.0
        return max(self._seconds - gone, LEAST_LEFT_S)


class RunQueue:
    """Lets one run at a time through.

    Gradio's own queue counts all events of the page together; this one counts runs alone, tells each its place, and
    lets a waiting run be stopped.

    Args:
        max_waiting: runs that may wait.
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self._tickets: list[Ticket] = []
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, wait: Wait | None = None, *, seconds: float = 0.0) -> Iterator[None]:
        """Hold the pipeline, after those who came before.

        Args:
            wait: told every POLL_S how many runs are before this one, and how many seconds they will take; may raise
                to leave the queue.
            seconds: that this run is estimated to take.

        Raises:
            BusyError: the queue is full.
        """
        ticket = Ticket(seconds)
        with self._changed:
            if len(self._tickets) > self.max_waiting:
                raise BusyError(said(strings.BUSY).format(count=len(self._tickets) - 1))
            self._tickets.append(ticket)
        try:
            while before := self._before(ticket):
                if wait:
                    wait(len(before), sum(other.left_s for other in before))
                with self._changed:
                    if self._tickets[0] is not ticket:
                        self._changed.wait(POLL_S)
            ticket.begin()
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()

    def _before(self, ticket: Ticket) -> list[Ticket]:
        with self._changed:
            return self._tickets[: self._tickets.index(ticket)]
