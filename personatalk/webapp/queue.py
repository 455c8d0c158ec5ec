"""Who may use the pipeline now, and who waits: first come, first served, and the line is bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from personatalk.errors import PersonaTalkError
from personatalk.webapp import strings

LOOK_S = 0.2  # how often a waiting run is told its place, and may give up


class BusyError(PersonaTalkError):
    """So many wait already that one more would not be served soon."""


class RunQueue:
    """Lets one run at a time through.

    Gradio's own queue counts all events of the page together; this one counts runs alone, tells each its place, and
    lets a waiting run be stopped.

    Args:
        longest: runs that may wait.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._tickets: list[object] = []
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, wait: Callable[[int], None] | None = None) -> Iterator[None]:
        """Hold the pipeline, after those who came before.

        Args:
            wait: told again and again how many are before this one; may raise to leave the line.

        Raises:
            BusyError: the line is full.
        """
        ticket = object()
        with self._changed:
            if len(self._tickets) > self.longest:
                raise BusyError(strings.BUSY.format(count=len(self._tickets) - 1))
            self._tickets.append(ticket)
        try:
            while before := self._before(ticket):
                if wait:
                    wait(before)
                with self._changed:
                    if self._tickets[0] is not ticket:
                        self._changed.wait(LOOK_S)
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()

    def _before(self, ticket: object) -> int:
        with self._changed:
            return self._tickets.index(ticket)
