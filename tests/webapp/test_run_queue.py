"""One run at a time, in order, and no more waiting than the queue takes."""

from __future__ import annotations

import threading
import time

import pytest

from personatalk.errors import CancelledError
from personatalk.webapp.run_queue import BusyError, RunQueue


def wait_until(happened, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_runs_come_one_at_a_time_in_the_order_of_their_coming():
    queue, order, inside, most = RunQueue(8), [], [], []

    def run(number: int) -> None:
        with queue.turn(lambda before: told.add((number, before))):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)
            order.append(number)

    told: set[tuple[int, int]] = set()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    with queue.turn():
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(lambda number=number: (number, number + 1) in told)
    for thread in threads:
        thread.join()
    assert order == list(range(6)) and max(most) == 1


def test_a_full_queue_refuses_and_says_how_many_wait():
    queue = RunQueue(1)
    waits, threads = threading.Event(), []

    def run() -> None:
        with queue.turn(lambda before: waits.set()):
            pass

    with queue.turn():
        threads.append(threading.Thread(target=run))
        threads[0].start()
        waits.wait(5)
        with pytest.raises(BusyError, match=r"waiting already \(1\)"), queue.turn():
            pass
    threads[0].join()
    with queue.turn():  # the refusal left nothing behind
        pass


def test_a_run_that_gives_up_leaves_the_queue():
    queue = RunQueue(2)

    def give_up(before: int) -> None:
        raise CancelledError("no longer wanted")

    with queue.turn():
        with pytest.raises(CancelledError), queue.turn(give_up):
            pass
    with queue.turn(give_up):  # nobody is before it, so it is not asked to wait
        pass
