"""One run at a time, in order, and no more waiting than the line holds."""

from __future__ import annotations

import threading
import time

import pytest

from personatalk.errors import CancelledError
from personatalk.webapp.queue import BusyError, RunQueue


def wait_until(happened, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_runs_come_one_at_a_time_in_the_order_of_their_coming():
    line, order, inside, most = RunQueue(8), [], [], []

    def run(number: int) -> None:
        with line.turn(lambda before: told.add((number, before))):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)
            order.append(number)

    told: set[tuple[int, int]] = set()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    with line.turn():
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(lambda number=number: (number, number + 1) in told)
    for thread in threads:
        thread.join()
    assert order == list(range(6)) and max(most) == 1


def test_a_full_line_refuses_and_says_how_many_wait():
    line = RunQueue(1)
    waits, threads = threading.Event(), []

    def run() -> None:
        with line.turn(lambda before: waits.set()):
            pass

    with line.turn():
        threads.append(threading.Thread(target=run))
        threads[0].start()
        waits.wait(5)
        with pytest.raises(BusyError, match=r"waiting already \(1\)"), line.turn():
            pass
    threads[0].join()
    with line.turn():  # the refusal left nothing behind
        pass


def test_who_gives_up_leaves_the_line():
    line = RunQueue(2)

    def give_up(before: int) -> None:
        raise CancelledError("no longer wanted")

    with line.turn():
        with pytest.raises(CancelledError), line.turn(give_up):
            pass
    with line.turn(give_up):  # nobody is before it, so it is not asked to wait
        pass
