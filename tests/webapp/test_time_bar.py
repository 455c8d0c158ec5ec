"""The value of the bar over all frames: the page's script acts on a value that differs from the last one."""

from __future__ import annotations

from dataclasses import replace

from personatalk.webapp.jobs import Outcome
from personatalk.webapp.time_bar import EMPTY, bar_of


def test_each_run_has_a_value_of_its_own(tmp_path):
    preview = Outcome(
        folder=tmp_path / "preview",
        before=tmp_path / "clip.mp4",
        video=tmp_path / "dubbed.mp4",
        report=tmp_path / "report.json",
        record=None,
        summary="30 frames",
        num_frames=30,
        fps=25.0,
        seconds=2.0,
    )
    dub = replace(preview, folder=tmp_path / "dub")
    assert bar_of(preview) == bar_of(replace(preview)) != bar_of(dub)
    assert bar_of(dub)["frame"] == 15
    assert bar_of(dub).keys() == EMPTY.keys() and bar_of(None) == EMPTY
