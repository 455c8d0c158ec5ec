"""What /analyze measures is what a dub uses."""

from __future__ import annotations

import pytest

from personatalk.options import DubbingOptions
from personatalk.progress import Run
from personatalk.webapp.analysis import analyse
from personatalk.webapp.examples import ASSETS


@pytest.mark.weights
@pytest.mark.slow
def test_an_analysis_reports_the_mouth_and_the_references_of_a_dub(pipeline, tmp_path):
    options = DubbingOptions()
    clip, speech = ASSETS / "grid_speaker.mp4", ASSETS / "speech_bridge.wav"  # the clip has sound of its own
    dub = pipeline.dub(clip, speech, tmp_path / "dubbed.mp4", options).report
    assert dub["speaker_calibration"]["calibrated_on_s"] > 1
    analysis = analyse(pipeline, clip, speech, options, Run(None, None))
    assert analysis["driven"]["lip_aperture"] == dub["lip_aperture"]
    assert analysis["references"]["lip_frames"] == dub["lip_references"]
    assert analysis["references"]["face_frames"] == dub["face_references"]
