"""The estimate of how long a run takes, from earlier runs on this machine."""

from __future__ import annotations

import json
import statistics
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from personatalk.progress import SHARES

BUILT_IN_S = 0.08  # per frame: 75 frames in 5.5 s on two cores without AMX (README), rounded up
BUILT_IN_PIXELS = 360 * 288  # of a frame of that clip
GROWTH = {"read_s": 0.3, "render_s": 0.55, "fixed_s": 0.0}  # by megapixel, of the time for the smallest frame; measured
START_S = 1.0  # opening files, first frames
COMPILING_S = 7.0  # of the first run after installation
KEPT_RUNS = 12
ALIKE = 2.0  # at most so many times the pixels of a frame; such runs go about as fast
FEW = 3  # runs that are asked where none is alike
READ_SHARE = SHARES["track"] + SHARES["fit"]  # of a dub's time


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run has to do.

    Attributes:
        read: frames whose face is tracked and fitted, added up over the faces; 0 where that was done before, and less
            than the frames where they were tracked before.
        rendered: frames of the output, added up over the faces.
        pixels: of a frame.
    """

    read: float
    rendered: float
    pixels: int


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a run went.

    Attributes:
        pixels: of a frame.
        read_s: per frame read; None where none was.
        render_s: per frame of the output.
        fixed_s: all else, whatever the number of frames.
    """

    pixels: int
    read_s: float | None
    render_s: float
    fixed_s: float


class TimeEstimator:
    """Estimates stage by stage, by the median of the earlier runs whose frames are alike in size.

    What a run of another size says is scaled: a part of the time for a frame grows with its pixels, the same part on
    every machine.

    Ours: `benchmarks.time_estimate` tells how far that is off.

    Args:
        path: of the JSON file that keeps their speeds; written when the first run ends.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._speeds = _read(path)

    @property
    def is_measured(self) -> bool:
        """Whether any run was timed on this machine."""
        return bool(self._speeds)

    def estimate(self, work: Work) -> float:
        """Seconds that a run takes."""
        built_in = {"read_s": READ_SHARE * BUILT_IN_S, "render_s": (1 - READ_SHARE) * BUILT_IN_S, "fixed_s": START_S}
        read, render, fixed = (self._median(name, work.pixels, otherwise) for name, otherwise in built_in.items())
        return fixed + read * work.read + render * work.rendered

    def _median(self, name: str, pixels: int, otherwise: float) -> float:
        """Median of a speed over the runs that are alike in size; without any over the few that are nearest.

        Args:
            name: of the speed.
            pixels: of a frame; what was measured with others is scaled to it.
            otherwise: the speed at BUILT_IN_PIXELS where there was no run.
        """

        def scaled(seconds: float, measured_pixels: int) -> float:
            return seconds * _grown(name, pixels) / _grown(name, measured_pixels)

        def ratio(speed: Speed) -> float:
            return max(speed.pixels, pixels) / min(speed.pixels, pixels)

        nearest = sorted((speed for speed in self._speeds if getattr(speed, name) is not None), key=ratio)
        asked = [speed for speed in nearest if ratio(speed) <= ALIKE] or nearest[:FEW]
        if not asked:
            return scaled(otherwise, BUILT_IN_PIXELS)
        return statistics.median(scaled(getattr(speed, name), speed.pixels) for speed in asked)

    def add(self, work: Work, timings: dict[str, float], seconds: float) -> None:
        """Learn from a run.

        Args:
            work: that was done.
            timings: seconds by stage, as a dub reports them.
            seconds: of the whole run.
        """
        reading = timings.get("track", 0.0) + timings.get("fit", 0.0)
        rendering = timings.get("render", 0.0)
        speed = Speed(
            pixels=max(1, work.pixels),
            read_s=round(reading / work.read, 5) if work.read else None,
            render_s=round(rendering / max(1.0, work.rendered), 5),
            fixed_s=round(max(0.0, seconds - reading - rendering), 3),
        )
        with self._lock:
            self._speeds = [*self._speeds, speed][-KEPT_RUNS:]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps([asdict(speed) for speed in self._speeds]))


def _grown(name: str, pixels: int) -> float:
    """Time for a frame of so many pixels, over that for the smallest."""
    return 1 + GROWTH[name] * pixels / 1e6


def _read(path: Path) -> list[Speed]:
    """The speeds that a file keeps; none where it is missing or another version wrote it."""
    try:
        return [Speed(**kept) for kept in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return []
