"""What a caller may choose for one dub."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

from personatalk.errors import OptionError

REFERENCE_STRATEGIES = ("coverage", "paper", "random", "nearest")
LENGTH_RULES = ("video", "audio", "loop", "hold")
TRACKERS = ("mediapipe", "face-alignment")
REFINEMENTS = ("flow", "photometric", "none")
SPEAKING = "speaking"  # the face that the clip's own sound belongs to
MAX_FACTOR = 3  # of style and motion
MAX_CRF = 51  # of H.264 in 8 bits


@dataclass(frozen=True, kw_only=True)
class DubbingOptions:
    """What a caller may choose for one dub.

    Attributes:
        style_strength: 0 speaks as the average person, 1 as this one, above 1 exaggerates.
        mouth_amplitude: factor on the motion of the mouth about its rest.
        expression: 1 keeps the slow expression of each moment of the clip, a smile or a mouth held open; 0 drops it.
        length: "video" keeps the video's frames and the whole audio; with the others both end together: a
            long video is cut, a short one is played back and forth ("audio"), starts again ("loop"), or
            stands still at its last frame ("hold").
        reference_strategy: how lip references are chosen, one of REFERENCE_STRATEGIES.
        tracker: finds the face's landmarks, one of TRACKERS; "face-alignment" needs a package and weights of its own.
        refine: what refines the fit to the landmarks, one of REFINEMENTS; "photometric" needs PyTorch3D and a minute.
        face: who is dubbed of several: a number of `personatalk faces`, counted from 0, or "speaking". Without it, the
            person at `face_point`, or else the one of whom there is most to see.
        face_point: (x, y) px in the first frame; the person whose face is nearest to it is dubbed.
        style_video: another clip whose speaking style is used.
        reference_video: another clip of the same person that gives style and lip references.
        crf: quality of the H.264 output, lower is better; 16 is visually lossless.
        measure_offset: the clip's own sound is moved to its own picture before anything is learnt from it.
        calibrate: stage 1 is fitted to how the person says what the clip's own sound says.

    Raises:
        OptionError: a value is of the wrong type or out of range; the message names both.
    """

    style_strength: float = 1.0
    mouth_amplitude: float = 1.0
    expression: float = 1.0
    length: str = "video"
    reference_strategy: str = "coverage"
    tracker: str = "mediapipe"
    refine: str = "flow"
    face: int | str | None = None
    face_point: tuple[float, float] | None = None
    style_video: Path | None = None
    reference_video: Path | None = None
    crf: int = 16
    measure_offset: bool = True
    calibrate: bool = True

    def __post_init__(self) -> None:
        for name in ("style_strength", "mouth_amplitude"):
            self._require(name, _is_within(getattr(self, name), MAX_FACTOR), f"a number between 0 and {MAX_FACTOR}")
        self._require("expression", _is_within(self.expression, 1), "a number between 0 and 1")
        choices_of = {"length": LENGTH_RULES, "reference_strategy": REFERENCE_STRATEGIES, "tracker": TRACKERS}
        for name, choices in (choices_of | {"refine": REFINEMENTS}).items():
            self._require(name, getattr(self, name) in choices, f"one of {choices}")
        for name in ("style_video", "reference_video"):
            self._require(name, isinstance(getattr(self, name), (str, Path, type(None))), "a path or None")
        for name in ("measure_offset", "calibrate"):
            self._require(name, isinstance(getattr(self, name), bool), "True or False")
        is_valid_crf = isinstance(self.crf, Integral) and _is_within(self.crf, MAX_CRF)
        self._require("crf", is_valid_crf, f"a whole number between 0 and {MAX_CRF}")
        is_number = isinstance(self.face, Integral) and not isinstance(self.face, bool) and int(self.face) >= 0
        self._require("face", self.face in (None, SPEAKING) or is_number, f'a number from 0, "{SPEAKING}" or None')
        self._require("face_point", self.face_point is None or _is_point(self.face_point), "two finite numbers or None")

    def _require(self, name: str, is_valid: bool, rule: str) -> None:
        if not is_valid:
            raise OptionError(f"{name}={getattr(self, name)!r} must be {rule}")


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_within(value: object, most: float) -> bool:
    return isinstance(value, Real) and _is_finite(value) and 0 <= float(value) <= most


def _is_point(value: object) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_finite, value))
