"""Several things at once: the order stays, few items are held, and an end is an end for all."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from personatalk.concurrency import map_in_order, read_ahead


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items(workers):
    def late(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item

    assert list(map_in_order(late, range(20), workers)) == list(range(20))


def test_calls_run_side_by_side_on_one_core_each_and_leave_the_setting_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    meeting = threading.Barrier(3, timeout=5)
    try:
        seen = list(map_in_order(lambda _: (meeting.wait(), torch.get_num_threads()), range(6), 3))
        assert {threads for _, threads in seen} == {1}
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as another:
            assert another.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_matrices_have_one_core_while_any_calls_run_side_by_side_and_all_again_afterwards():
    with threadpool_limits(2, "blas"):
        assert blas_threads() == {2}
        first, second = (map_in_order(lambda _: blas_threads(), range(9), 2) for _ in range(2))
        assert next(first) == next(second) == {1}
        first.close()
        assert next(second) == {1}
        second.close()
        assert blas_threads() == {2}


def test_few_items_are_taken_ahead_of_the_results():
    taken = []
    results = map_in_order(lambda item: item, (taken.append(i) or i for i in range(50)), 2)
    for count in range(1, 20):
        next(results)
        assert len(taken) <= count + 2
    results.close()


def test_nothing_starts_after_an_error_or_a_close():
    started = []

    def work(item: int) -> int:
        started.append(item)
        time.sleep(0.01)
        if item == 4:
            raise KeyError("four")
        return item

    with pytest.raises(KeyError, match="four"):
        list(map_in_order(work, range(1000), 2))
    assert len(started) < 10
    started.clear()
    threads_before = threading.active_count()
    results = map_in_order(work, range(3), 2)
    next(results)
    results.close()
    assert threading.active_count() <= threads_before and len(started) <= 3


def test_reading_ahead_keeps_items_and_passes_errors_on():
    def items():
        yield from range(5)
        raise OSError("torn")

    seen = []
    with pytest.raises(OSError, match="torn"):
        for item in read_ahead(items()):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


def test_reading_ahead_works_meanwhile():
    ready = threading.Event()

    def items():
        yield 1
        ready.set()
        yield 2

    ahead = read_ahead(items())
    assert next(ahead) == 1
    assert ready.wait(5)
    ahead.close()
