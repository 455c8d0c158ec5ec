"""Progress, cancelling and timing of one run of the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from personatalk.errors import CancelledError
from personatalk.kept_work import NothingKept
from personatalk.memory import peak_memory_mb, release_free_memory, reset_peak_memory

SHARES = {
    "listen": 0.02,
    "track": 0.12,
    "fit": 0.27,
    "geometry": 0.03,
    "references": 0.05,
    "render": 0.51,
}  # of a run's time, to tell how much of it is done

Item = TypeVar("Item")
Progress = Callable[[float, str], None]
Tick = Callable[[], None]  # called for each frame that was worked on; may raise to stop


def no_tick() -> None:
    """Do nothing: the Tick of a caller that shows no progress."""


class Run:
    """Progress, cancelling, timings and processor times of one dub.

    Args:
        progress: called with (share done, what is being done).
        should_stop: asked at every frame; true ends the run.
        measures_memory: note each stage's peak memory. This resets the peak that the system keeps for the process,
            so nobody else can read the peak of the whole process afterwards.
        kept: has what a run before has finished, and keeps what this one does.
    """

    def __init__(
        self,
        progress: Progress | None,
        should_stop: Callable[[], bool] | None,
        *,
        measures_memory: bool = False,
        kept: NothingKept | None = None,
    ) -> None:
        self.kept = kept or NothingKept()
        self.progress, self.should_stop, self.measures_memory = progress, should_stop, measures_memory
        self.timings: dict[str, float] = {}
        self.processor_s: dict[str, float] = {}
        self.peak_memory_mb: dict[str, int | None] = {}
        self.done, self.name, self.message = 0.0, "", ""
        self._part, self._num_parts = 0, 1

    @contextmanager
    def stage(self, name: str, message: str) -> Iterator[None]:
        """Time a stage of the run, and note its peak memory if asked to."""
        self.name, self.message = name, message
        self.step(0, 1)
        if self.measures_memory:
            reset_peak_memory()
        start, processor_start = time.perf_counter(), time.process_time()
        yield
        self.timings[name] = time.perf_counter() - start
        self.processor_s[name] = time.process_time() - processor_start
        if self.measures_memory:
            self.peak_memory_mb[name] = peak_memory_mb()
        release_free_memory()
        self.done += SHARES[name]

    def each(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield items, the work on each of which is as large a part of the stage."""
        self._num_parts = len(items)
        for self._part, item in enumerate(items):
            yield item
        self._part, self._num_parts = 0, 1

    def step(self, index: int, count: int | None) -> None:
        """Report how far the stage is, and stop if asked to."""
        self.check()
        if self.progress:
            share = (self._part + (min(1.0, index / count) if count else 0.0)) / self._num_parts
            self.progress(min(1.0, self.done + SHARES[self.name] * share), self.message)

    def check(self) -> None:
        """Raise CancelledError if the caller wants to stop."""
        if self.should_stop and self.should_stop():
            raise CancelledError("stopped; nothing was written")
