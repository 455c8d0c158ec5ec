"""One run at a time, in order, and no more waiting than the queue takes."""

from __future__ import annotations

import threading
import time

import pytest

from personatalk.errors import CancelledError
from personatalk.webapp.run_queue import BusyError, RunQueue, Ticket


def wait_until(happened, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_runs_come_one_at_a_time_in_the_order_of_their_coming():
    queue, order, inside, most = RunQueue(8), [], [], []

    def run(number: int) -> None:
        with queue.turn(lambda before, _: told.add((number, before))):
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
        with queue.turn(lambda *_: waits.set()):
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

    def give_up(before: int, seconds: float) -> None:
        raise CancelledError("no longer wanted")

    with queue.turn():
        with pytest.raises(CancelledError), queue.turn(give_up):
            pass
    with queue.turn(give_up):  # nobody is before it, so it is not asked to wait
        pass


def test_who_waits_is_told_how_long_those_before_will_take():
    queue, told, done = RunQueue(3), [], threading.Event()

    def run(seconds: float) -> None:
        with queue.turn(lambda before, left: told.append((before, left)), seconds=seconds):
            done.wait(5)

    with queue.turn(seconds=30.0):
        threads = [threading.Thread(target=run, args=(seconds,)) for seconds in (50.0, 70.0)]
        for number, thread in enumerate(threads, start=1):
            thread.start()
            wait_until(lambda number=number: any(before == number for before, _ in told))
        first, second = (next(left for before, left in told if before == number) for number in (1, 2))
        assert 25 < first <= 30 and 75 < second <= 80  # of the run that goes on, what it has taken is gone
        done.set()
    for thread in threads:
        thread.join()


def test_a_run_that_takes_longer_than_estimated_is_still_said_to_take_a_moment():
    ticket = Ticket(0.0)
    ticket.begin()
    assert ticket.left_s > 0
