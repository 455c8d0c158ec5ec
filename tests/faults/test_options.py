"""Choices of a wrong type or out of range are refused when they are made."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import CopyPipeline

from personatalk.cli import dub as cli
from personatalk.cli.main import main
from personatalk.options import DubbingOptions

BAD = {
    "style_strength": [-0.1, 3.1, math.nan, math.inf, "1", None, True, [1.0]],
    "mouth_amplitude": [-0.1, 3.1, math.nan, "a", None, False],
    "expression": [-0.01, 1.5, math.nan, "0.5", True],
    "length": ["long", None, 1, ["video"]],
    "reference_strategy": ["best", None],
    "face": [-1, 1.5, True, "largest", (1, 2)],
    "face_point": [(1.0,), (1.0, 2.0, 3.0), ("a", 1.0), (1.0, math.nan), (math.inf, 1.0), "12", 3.0, (None, None)],
    "style_video": [1, True, b"clip.mp4", ["clip.mp4"]],
    "reference_video": [1.0],
    "crf": [-1, 52, 16.5, "16", None, True],
    "measure_offset": ["false", 0, None],
    "calibrate": ["no", 1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_choice_is_refused_and_named(name, value):
    with pytest.raises(ValueError, match=name) as caught:
        DubbingOptions(**{name: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "good",
    [
        {"style_strength": 0, "mouth_amplitude": np.float32(1.5), "crf": np.int64(51)},
        {"expression": 0, "style_strength": 3, "crf": 0, "length": "hold", "calibrate": False},
        {"face": "speaking"},
        {"face": np.int64(2)},
        {"face_point": [3, 4.5], "style_video": Path("a.mp4"), "reference_video": "b.mp4"},
    ],
)
def test_a_good_choice_is_taken(good):
    options = DubbingOptions(**good)
    assert all(getattr(options, name) == value for name, value in good.items())


@pytest.mark.parametrize("crf", ["-1", "52", "1000"])
def test_a_quality_out_of_range_is_one_sentence_before_the_work(monkeypatch, clip, speech, tmp_path, capsys, crf):
    pipeline = CopyPipeline()
    monkeypatch.setattr(cli, "load", lambda checkpoints, device: pipeline)
    assert main(["dub", str(clip), str(speech), "-o", str(tmp_path / "out.mp4"), f"--crf={crf}"]) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith(f"personatalk: crf={crf} must") and sentence.count("\n") == 1
    assert not hasattr(pipeline, "options")
