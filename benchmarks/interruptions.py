"""Dubs that are killed at random moments, or whose disk is full from some moment on; see `benchmarks.faults`."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from personatalk.errors import MediaError
from personatalk.kept_work import SUFFIX
from personatalk.media.excerpt import cut_sound, cut_video
from personatalk.pipeline import DubbingPipeline

ASSETS = Path(__file__).parents[1] / "assets"
CLIP_S = 1.6  # of the speaker, that is dubbed again and again


def short_inputs(folder: Path, seconds: float = CLIP_S) -> tuple[Path, Path]:
    """Write a short clip of the shipped speaker and a speech as long."""
    sound = cut_sound(ASSETS / "grid_speaker.mp4", folder / "own.wav", 0.0, seconds)
    clip = cut_video(ASSETS / "grid_speaker.mp4", folder / "clip.mp4", 0.0, seconds, sound=sound)
    return clip, cut_sound(ASSETS / "speech_bridge.wav", folder / "speech.wav", 0.0, seconds)


def measure_kills(folder: Path, count: int, seed: int, *, show: Callable[[str], None] = print) -> dict[str, int]:
    """Kill resumed dubs at random moments, until `count` have been; each goes on where the one before was killed.

    Returns:
        "killed", before the file had its final name; "half_files", under it after a kill; "dubs", that came to their
        end, one killed after it among them; "different", those whose file is not the undisturbed run's; "left", files
        beside the output after them.
    """
    random, counts = np.random.default_rng(seed), Counter(killed=0, half_files=0, dubs=0, different=0, left=0)
    clip, speech = short_inputs(folder)
    whole, output = folder / "whole.mp4", folder / "dubbed.mp4"
    begin = time.monotonic()
    subprocess.run(_command(clip, speech, whole), check=True)
    usual = time.monotonic() - begin
    inputs = set(folder.iterdir())
    while counts["killed"] < count or output.with_name(output.name + SUFFIX).exists():
        process = subprocess.Popen([*_command(clip, speech, output), "--resume"])
        try:
            # a run that goes on is shorter; after the last kill, one runs to its end
            process.wait(None if counts["killed"] >= count else float(random.uniform(0.05, 0.9)) * usual)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        was_killed = process.returncode == -signal.SIGKILL
        if process.returncode and not was_killed:
            raise RuntimeError(f"the dub ended with exit code {process.returncode}")
        is_whole = output.exists() and output.read_bytes() == whole.read_bytes()
        if was_killed and not is_whole:
            counts["killed"] += 1
            counts["half_files"] += output.exists()
            continue
        counts["dubs"] += 1
        counts["different"] += not is_whole
        output.unlink()
        counts["left"] += 0 if was_killed else len(set(folder.iterdir()) - inputs)
        show(json.dumps(counts))
    return dict(counts)


def _command(clip: Path, speech: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "personatalk", "dub", str(clip), str(speech), "-o", str(output), "--quiet"]


def measure_full_disks(
    pipeline: DubbingPipeline, folder: Path, moments: int, *, show: Callable[[str], None] = print
) -> dict[str, int]:
    """Dub while nothing more can be written from some moment on, at moments spread evenly over the run.

    Each run goes on where the one before had to end; at last, one may write all it wants.

    Returns:
        "moments"; "sentences", of these ended by an error of one line; "half_files", under the final name;
        "different", 1 if the last file is not the undisturbed run's; "left", files beside the output after it.
    """
    counts = Counter(moments=0, sentences=0, half_files=0, different=0, left=0)
    clip, speech = short_inputs(folder)
    whole = pipeline.dub(clip, speech, folder / "whole.mp4").video
    inputs, output = set(folder.iterdir()), folder / "dubbed.mp4"
    for share in (np.arange(moments) + 0.5) / moments:
        words = _dub_until_full(pipeline, (clip, speech, output), float(share))
        counts["moments"] += 1
        counts["sentences"] += words is not None and "\n" not in words
        counts["half_files"] += output.exists()
        show(f"full from {share:.2f} of the run on: {words}")
    pipeline.dub(clip, speech, output, resume=True)
    counts["different"] = int(output.read_bytes() != whole.read_bytes())
    output.unlink()
    counts["left"] = len(set(folder.iterdir()) - inputs)
    return dict(counts)


def _dub_until_full(pipeline: DubbingPipeline, paths: tuple[Path, Path, Path], share: float) -> str | None:
    """Dub with a disk that is full from a share of the run on; returns the error's words, None where all went well."""
    with _limit_of_files() as fill:
        try:
            pipeline.dub(*paths, resume=True, progress=lambda done, _: fill() if done >= share else None)
        except MediaError as error:
            return str(error)
    return None


@contextmanager
def _limit_of_files() -> Iterator[Callable[[], None]]:
    """A call from which on this process can write nothing into files, as if the disk were full, and its end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
