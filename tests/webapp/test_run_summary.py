"""What a visitor reads: no folders of the server, whole sentences, and a word where the speech is silent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from personatalk.errors import MediaError, NoFaceError
from personatalk.speech.sync_network import Synchrony
from personatalk.webapp import strings
from personatalk.webapp.clip_judgement import ClipFacts
from personatalk.webapp.run_summary import (
    describe_style,
    describe_synchrony,
    name_files_as_the_page_does,
    summarise,
    without_folders,
)

CLIP = Path("/srv/uploads/0f3a/holiday.mp4")


@pytest.mark.parametrize(
    ("raised", "read"),
    [
        (f"{CLIP} is too short", "The clip is too short"),
        (f"no sound in {CLIP}; give another", "No sound in the clip; give another"),
        ("holiday.mp4 is a text file", "holiday.mp4 is a text file"),
    ],
)
def test_files_are_called_what_the_page_calls_them(raised, read):
    with pytest.raises(MediaError) as caught, name_files_as_the_page_does({CLIP: strings.CLIP}):
        raise MediaError(raised)
    assert str(caught.value) == read


def test_the_kind_of_an_error_stays():
    with pytest.raises(NoFaceError, match="No face"), name_files_as_the_page_does({}):
        raise NoFaceError("no face")


def test_a_report_names_files_without_their_folders():
    report = {"options": {"style_video": str(CLIP), "reference_video": None, "length": "loop"}, "num_frames": 3}
    assert without_folders(report) == {
        "options": {"style_video": "holiday.mp4", "reference_video": None, "length": "loop"}, "num_frames": 3,
    }  # fmt: skip
    assert report["options"]["style_video"] == str(CLIP)
    assert without_folders({"num_frames": 3}) == {"num_frames": 3}


def test_a_summary_says_that_no_voice_was_heard():
    result = SimpleNamespace(num_frames=9, fps=25.0, num_passed_through=0, timings={"all": 1.0})
    for deviation, silent in ((0.0, True), (0.05, False)):
        result.report = {"lip_aperture": {"mean": 0.02, "deviation": deviation}}
        assert (strings.SUMMARY_SILENT in summarise(result)) is silent


def report_with(calibrated_on_s: float = 0.0, **options) -> dict:
    return {"options": {"style_strength": 1.0} | options, "speaker_calibration": {"calibrated_on_s": calibrated_on_s}}


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (report_with(2.8), "this person's own, calibrated on 2.8 s"),
        (report_with(2.8, style_video="other.mp4"), "that of the other clip, calibrated on 2.8 s"),
        (report_with(), "this person's own, from the picture alone"),
        (report_with(2.8, style_strength=0.0), "the average of all speakers"),
        (report_with(2.8, style_strength=0.5), "this person's own at 50%"),
    ],
)
def test_a_summary_says_whose_style_it_is_and_what_it_rests_on(report, said):
    assert said in describe_style(report)


def test_a_summary_says_what_was_left_or_kept():
    result = SimpleNamespace(num_frames=9, fps=25.0, num_passed_through=2, timings={"all": 1.0}, report={})
    result.report = {
        "num_occluded": 4,
        "painted_share": 0.26,
        "shots": [{"shows_the_person": True}, {"shows_the_person": False}, {"shows_the_person": False}],
    }
    said = summarise(result)
    for text, count in ((strings.SUMMARY_PASSED, 2), (strings.SUMMARY_OCCLUDED, 4), (strings.SUMMARY_SHOTS, 2)):
        assert text.format(count=count) in said
    assert strings.SUMMARY_PAINTED.format(share=0.26) in said
    result.num_passed_through, result.report = (
        0,
        {"num_occluded": 0, "painted_share": 0.0, "shots": [{"shows_the_person": True}]},
    )
    assert summarise(result).count("\n") == 0


def test_a_summary_warns_where_the_result_is_likely_poor():
    result = SimpleNamespace(num_frames=9, fps=25.0, num_passed_through=0, timings={"all": 1.0}, report={})
    assert "⚠️" not in summarise(result, facts=[ClipFacts(open_iod=0.2, turn_deg=8, face_px=150)])
    said = summarise(result, facts=[ClipFacts(open_iod=0.01, turn_deg=41.2, face_px=48.7)]).split("\n")
    assert len([line for line in said if line.startswith("⚠️")]) == 3
    assert "turned 41°" in said[2] and "49 pixels wide" in said[3]


def test_a_summary_says_how_well_lips_and_sound_fit():
    log_odds = np.zeros(61)
    for offset_s, confidence, said in (
        (0.02, 12.0, "good, the mouth is 20 ms after the sound (confidence 12.0)"),
        (-0.12, 12.0, "Lip sync: the mouth is 120 ms before the sound"),
        (0.02, 2.0, "unclear (confidence 2.0)"),
    ):
        found = Synchrony(offset_s=offset_s, confidence=confidence, log_odds=log_odds)
        assert said in describe_synchrony(found)
    assert describe_synchrony(None) == strings.SUMMARY_NOT_JUDGED
