"""The estimate of how long a dub takes, from earlier runs on this machine."""

from __future__ import annotations

import json
import statistics
import threading
from pathlib import Path

BUILT_IN_S = 0.08  # per frame: 75 frames in 5.5 s on two cores without AMX (README), rounded up
START_S = 1.0  # opening files, first frames
KEPT_RUNS = 9


class TimeEstimator:
    """Estimates by the median of the last runs' seconds per frame, which are kept in a file.

    Args:
        path: of the JSON file; written when the first run ends.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._rates: list[float] = json.loads(path.read_text()) if path.is_file() else []

    @property
    def is_measured(self) -> bool:
        """Whether any run was timed on this machine."""
        return bool(self._rates)

    def estimate(self, num_frames: float) -> float:
        """Seconds that a dub of so many frames takes."""
        rate = statistics.median(self._rates) if self._rates else BUILT_IN_S
        return START_S + rate * num_frames

    def add(self, num_frames: int, seconds: float) -> None:
        """Learn from a run."""
        with self._lock:
            self._rates = [*self._rates, max(seconds - START_S, 0.0) / num_frames][-KEPT_RUNS:]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps([round(rate, 5) for rate in self._rates]))
