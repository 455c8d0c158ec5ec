"""The frames of the output: which source frame each one is, and when it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from personatalk.media import read_frames
from personatalk.media.picture import Pixels

BLOCK_FRAMES = 24  # frames held while a video is played backwards
END_TOLERANCE_S = 1e-6  # a frame that would start at the end, but for rounding, is none


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The frames of the output.

    Attributes:
        order: [N] source frame of each output frame.
        pts: [N] ticks.
        times: [N] s.
        source_times: [T] s of the source's frames.
        end_pts: ticks at which the last frame ends; None leaves it the source's usual duration.
    """

    order: np.ndarray
    pts: np.ndarray
    times: np.ndarray
    source_times: np.ndarray
    end_pts: int | None = None

    def positions(self, start_s: float, end_s: float) -> slice:
        """Positions of the output frames from start_s to before end_s, counted from the output's first frame.

        Raises:
            ValueError: there is none.
        """
        start, stop = np.searchsorted(self.times - self.times[0], np.array((start_s, end_s)) - END_TOLERANCE_S)
        if start >= stop:
            raise ValueError(f"no frame of the output lies between {start_s} and {end_s} s")
        return slice(int(start), int(stop))

    def seconds(self, kept: slice) -> tuple[float, float]:
        """When the frames at some positions begin and end, s from the output's first frame."""
        times = self.times - self.times[0]
        usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        return float(times[kept.start]), float(np.append(times, times[-1] + usual)[kept.stop])

    def part(self, kept: slice) -> Timeline:
        """The frames at some positions as an output of their own, which starts at 0 ticks."""
        pts = self.pts[kept]
        usual = int(np.median(np.diff(self.pts))) if len(self.pts) > 1 else 1
        end = self.pts[-1] + usual if self.end_pts is None else self.end_pts
        end = int(np.append(self.pts, end)[kept.stop])
        return replace(
            self,
            order=self.order[kept],
            pts=pts - pts[0],
            times=self.times[kept],
            end_pts=end - int(pts[0]),
        )


def plan_timeline(times: np.ndarray, pts: np.ndarray, audio_s: float, length: str) -> Timeline:
    """Lay out the output.

    The frame rate may vary: neighbouring frames keep their distance in time, forwards and backwards, and each other
    step takes the median of the source's.

    Args:
        times: [T] s of the source's frames.
        pts: [T] ticks of the same.
        audio_s: seconds of speech.
        length: "video" keeps the source as it is; the others cut it at the speech's end, or fill the time up to
            there: "audio" plays it back and forth, "loop" starts it again, "hold" repeats its last frame.
    """
    count = len(times)
    if length == "video" or count < 2:
        return Timeline(order=np.arange(count), pts=pts, times=times, source_times=times)
    ticks_per_s = (pts[-1] - pts[0]) / (times[-1] - times[0])
    usual = int(np.median(np.diff(pts)))
    cycle = pts[-1] - pts[0] if length == "audio" else pts[-1] - pts[0] + usual
    end = audio_s * ticks_per_s
    if length == "hold":
        needed = count + max(0, int((end - cycle) / usual)) + 2
    else:
        needed = count * (int(end / cycle) + 2)
    order = FILLING[length](count, needed)
    steps = np.where(np.abs(np.diff(order)) == 1, np.abs(np.diff(pts[order])), usual)
    starts = np.concatenate([[0], np.cumsum(steps)])
    kept = max(1, int(np.searchsorted(starts, end - END_TOLERANCE_S * ticks_per_s)))
    last, own = starts[kept - 1], steps[kept - 1]
    shown = min(own, max(usual, int(np.ceil(end - last))))
    return Timeline(
        order=order[:kept],
        pts=pts[0] + starts[:kept],
        times=times[0] + starts[:kept] / ticks_per_s,
        source_times=times,
        end_pts=int(pts[0] + last + shown),
    )


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


def read_in_order(video: Path, timeline: Timeline) -> Iterator[Pixels]:
    """Read frames in the timeline's order, forwards as a stream, backwards in small blocks."""
    is_new = np.diff(timeline.order, prepend=-1) != 0
    repeats = np.diff(np.flatnonzero(is_new), append=len(is_new))
    for image, count in zip(_read_changing(video, timeline, timeline.order[is_new]), repeats, strict=True):
        for _ in range(count):
            yield image


def _read_changing(video: Path, timeline: Timeline, order: np.ndarray) -> Iterator[Pixels]:
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


def _read_range(video: Path, timeline: Timeline, first: int, last: int) -> Iterator[Pixels]:
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
            yield frame.pixels
        number += 1
