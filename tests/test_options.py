"""Options are checked when they are chosen; the message names the option, its value and the rule."""

from __future__ import annotations

import pytest

from personatalk.errors import OptionError
from personatalk.options import DubbingOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("style_strength", -0.1),
        ("mouth_amplitude", "1"),
        ("expression", 1.5),
        ("expression", -0.01),
        ("expression", float("nan")),
        ("expression", "0.5"),
        ("expression", True),
        ("length", "forever"),
        ("reference_strategy", "best"),
        ("tracker", "none"),
        ("crf", 52),
        ("crf", 16.5),
        ("face_point", (float("inf"), 3)),
        ("measure_offset", "false"),
        ("calibrate", 1),
        ("style_video", 3),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(OptionError, match=name):
        DubbingOptions(**{name: value})


def test_the_bounds_themselves_are_allowed():
    options = DubbingOptions(expression=0, style_strength=3, mouth_amplitude=0, crf=51, face_point=(0, 1.5))
    assert options.expression == 0 and DubbingOptions().expression == 1
