"""What the worker processes of `test_jobs` do; a module of its own, so that they start with few imports."""

from __future__ import annotations

import ctypes
import os
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

from personatalk.errors import CheckpointError
from personatalk.media import probe_video
from personatalk.media.still import probe_clip

if TYPE_CHECKING:
    from personatalk.webapp.jobs import Studio


def probe_or_die(path):
    """Stands for a decoder that does not survive a file."""
    if "deadly" in path.name:
        ctypes.string_at(0)
    return probe_clip(path)


def prepare_deadly_probing() -> None:
    from personatalk.webapp import limits

    limits.probe_clip = probe_or_die


class DeadlyPipeline:
    """Hands the clip back, or dies of it, by its length, as decoders do of what is in it."""

    def dub(self, video, audio, output, options=None, *, progress=None, **_):
        if probe_video(video).num_frames == 7:
            ctypes.string_at(0)
        progress(0.5, "copying")
        shutil.copy(video, output)
        report, timings = {"process": os.getpid()}, {"copying": 0.5}
        return SimpleNamespace(
            video=output, num_frames=5, num_passed_through=1, fps=25.0, timings=timings, report=report
        )


def prepare_studio() -> Studio:
    from personatalk.webapp.jobs import Studio

    return Studio(pipeline=DeadlyPipeline())


def fail_to_prepare(message: str) -> None:
    raise CheckpointError(message)
