"""Small forms of the faults of `python -m benchmarks.faults`: one kill, two full disks, hostile requests."""

from __future__ import annotations

import signal
import subprocess

import pytest
from conftest import CopyPipeline

import app
from benchmarks import interruptions
from benchmarks.hostile_requests import Page, measure_requests
from benchmarks.interruptions import measure_full_disks, measure_kills
from personatalk.webapp import build_demo


@pytest.mark.weights
@pytest.mark.slow
def test_a_killed_dub_goes_on_and_comes_to_the_same_file(tmp_path):
    counts = measure_kills(tmp_path, 1, seed=0)
    assert counts["killed"] >= 1 and counts["dubs"] >= 1
    assert counts["half_files"] == counts["different"] == counts["left"] == 0


def test_a_dub_that_is_killed_once_its_file_is_whole_counts_as_a_dub(tmp_path, monkeypatch):
    """Its process had only to exit; another one is killed in its place."""
    runs = iter([("whole.mp4", None), ("dubbed.mp4", signal.SIGKILL), ("dubbed.mp4.part", signal.SIGKILL)])

    class Run:
        """Writes a file, and is killed then or has ended by itself."""

        def __init__(self, command: list[str]) -> None:
            name, self.signal = next(runs)
            (tmp_path / name).write_bytes(b"a dub")
            self.returncode = None if self.signal else 0

        def wait(self, timeout: float | None = None) -> None:
            if self.returncode is None:
                raise subprocess.TimeoutExpired("dub", timeout or 0)

        def send_signal(self, sent: signal.Signals) -> None:
            self.returncode = -sent

    monkeypatch.setattr(interruptions, "short_inputs", lambda folder: (folder / "clip.mp4", folder / "speech.wav"))
    monkeypatch.setattr(interruptions.subprocess, "run", lambda command, check: Run(command))
    monkeypatch.setattr(interruptions.subprocess, "Popen", Run)
    counts = measure_kills(tmp_path, 1, seed=0)
    assert counts == {"killed": 1, "half_files": 0, "dubs": 1, "different": 0, "left": 0}


@pytest.mark.weights
@pytest.mark.slow
def test_a_disk_that_fills_ends_a_dub_in_a_sentence_and_it_goes_on_after(pipeline, tmp_path):
    counts = measure_full_disks(pipeline, tmp_path, 2)
    assert counts["sentences"] == counts["moments"] == 2
    assert counts["half_files"] == counts["different"] == counts["left"] == 0


def test_hostile_requests_are_refused_with_words_and_the_page_works_on(tmp_path, clip, speech, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    pipeline = CopyPipeline()
    demo = build_demo(pipeline)
    _, url, _ = app.launch(demo, host="127.0.0.1", port=None, block=False)
    page = Page(url, clip, speech)
    try:
        counts, worse = measure_requests(page, 30, seed=1)
        assert worse == [] and counts["refused"] == 30
        assert not hasattr(pipeline, "options"), "nothing was dubbed"
        assert page.call("dub", page.good)[0] == "accepted" and page.is_there()
    finally:
        page.close()
        demo.close()
