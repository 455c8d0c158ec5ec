"""What a caller may choose for one dub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REFERENCE_STRATEGIES = ("coverage", "paper", "random", "nearest")
LENGTH_RULES = ("video", "audio", "loop", "hold")


@dataclass(frozen=True, kw_only=True)
class DubbingOptions:
    """What a caller may choose for one dub.

    Attributes:
        style_strength: 0 speaks as the average person, 1 as this one, above 1 exaggerates.
        mouth_amplitude: factor on the motion of the mouth about its rest.
        length: "video" keeps the video's frames and the whole audio; with the others both end together: a
            long video is cut, a short one is played back and forth ("audio"), starts again ("loop"), or
            stands still at its last frame ("hold").
        reference_strategy: how lip references are chosen, one of REFERENCE_STRATEGIES.
        face_point: (x, y) px in the first frame; the face nearest to it is dubbed. Without it, the largest.
        style_video: another clip whose speaking style is used.
        reference_video: another clip of the same person that gives style and lip references.
        crf: quality of the H.264 output, lower is better; 16 is visually lossless.
        measure_offset: the clip's own sound is moved to its own picture before anything is learnt from it.
        calibrate: stage 1 is fitted to how the person says what the clip's own sound says.
    """

    style_strength: float = 1.0
    mouth_amplitude: float = 1.0
    length: str = "video"
    reference_strategy: str = "coverage"
    face_point: tuple[float, float] | None = None
    style_video: Path | None = None
    reference_video: Path | None = None
    crf: int = 16
    measure_offset: bool = True
    calibrate: bool = True

    def __post_init__(self) -> None:
        if self.length not in LENGTH_RULES:
            raise ValueError(f"length={self.length!r} must be one of {LENGTH_RULES}")
        if self.reference_strategy not in REFERENCE_STRATEGIES:
            raise ValueError(f"reference_strategy={self.reference_strategy!r} must be one of {REFERENCE_STRATEGIES}")
        for name in ("style_strength", "mouth_amplitude"):
            if not 0 <= getattr(self, name) <= 3:
                raise ValueError(f"{name}={getattr(self, name)} must lie between 0 and 3")
