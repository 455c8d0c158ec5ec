"""Which source frame stands where in the output, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personatalk.media import read_frames

BLOCK_FRAMES = 24  # frames held while a video is played backwards


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The frames of the output.

    Attributes:
        order: [N] source frame of each output frame.
        pts: [N] ticks.
        times: [N] s.
        source_times: [T] s of the source's frames.
    """

    order: np.ndarray
    pts: np.ndarray
    times: np.ndarray
    source_times: np.ndarray


def plan_timeline(times: np.ndarray, pts: np.ndarray, audio_s: float, length: str) -> Timeline:
    """Lay out the output.

    Args:
        times: [T] s of the source's frames.
        pts: [T] ticks of the same.
        audio_s: seconds of speech.
        length: "video" keeps the source as it is; the others cut it at the speech's end, or fill the time up to
            there: "audio" plays it back and forth, "loop" starts it again, "hold" stands still at its last frame.
    """
    count = len(times)
    if length == "video" or count < 2:
        return Timeline(order=np.arange(count), pts=pts, times=times, source_times=times)
    steps, ticks = float(np.median(np.diff(times))), int(np.median(np.diff(pts)))
    needed = max(1, int(np.ceil(audio_s / steps)))
    order = FILLING[length](count, needed)
    extra = np.maximum(np.arange(needed) - (count - 1), 0)
    kept = np.minimum(np.arange(needed), count - 1)
    return Timeline(order=order, pts=pts[kept] + extra * ticks, times=times[kept] + extra * steps, source_times=times)


def bounce(count: int, needed: int) -> np.ndarray:
    """[needed] positions that run 0 .. count - 1 and back, and so on."""
    if count == 1:
        return np.zeros(needed, int)
    phase = np.arange(needed) % (2 * count - 2)
    return np.minimum(phase, 2 * count - 2 - phase)


def loop(count: int, needed: int) -> np.ndarray:
    """[needed] positions that run 0 .. count - 1 and start again."""
    return np.arange(needed) % count


def hold(count: int, needed: int) -> np.ndarray:
    """[needed] positions that run 0 .. count - 1 and stay there."""
    return np.minimum(np.arange(needed), count - 1)


FILLING = {"audio": bounce, "loop": loop, "hold": hold}


def read_in_order(video: Path, timeline: Timeline) -> Iterator[np.ndarray]:
    """Read frames in the timeline's order, forwards as a stream, backwards in small blocks."""
    is_new = np.diff(timeline.order, prepend=-1) != 0
    repeats = np.diff(np.flatnonzero(is_new), append=len(is_new))
    for image, count in zip(_read_changing(video, timeline, timeline.order[is_new]), repeats, strict=True):
        for _ in range(count):
            yield image


def _read_changing(video: Path, timeline: Timeline, order: np.ndarray) -> Iterator[np.ndarray]:
    """Read frames in an order in which none follows itself."""
    steps = np.diff(order)
    jumps = np.flatnonzero(np.abs(steps) != 1) + 1
    turns = np.flatnonzero(steps[1:] * steps[:-1] == -1) + 1
    for run in np.split(order, np.union1d(jumps, turns)):
        if not len(run):
            continue
        if run[0] <= run[-1]:
            yield from _read_range(video, timeline, run[0], run[-1])
            continue
        for high in range(run[0], run[-1] - 1, -BLOCK_FRAMES):
            low = max(run[-1], high - BLOCK_FRAMES + 1)
            yield from reversed(list(_read_range(video, timeline, low, high)))


def _read_range(video: Path, timeline: Timeline, first: int, last: int) -> Iterator[np.ndarray]:
    """Read the frames first..last of a video."""
    start = float(timeline.source_times[first])
    frames = read_frames(video, start_time=start) if first else read_frames(video)
    number = None
    for frame in frames:
        if number is None:
            number = int(np.abs(timeline.source_times - frame.time).argmin())
        if number > last:
            return
        if number >= first:
            yield frame.image
        number += 1
