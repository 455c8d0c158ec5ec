"""What a visitor reads: no folders of the server, whole sentences, and a word where the speech is silent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from personatalk.errors import MediaError, NoFaceError
from personatalk.webapp import strings
from personatalk.webapp.run_summary import name_files_as_the_page_does, summarise, without_folders

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
