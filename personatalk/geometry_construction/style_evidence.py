"""How much of a speaking style a clip shows: the style of its speech, drawn to the average speaker's where it is short.

Mean and deviation of a mouth that is shut say nothing of how a person speaks. So style is taken from the frames in
which the person speaks, and counts by their seconds; what is missing is the average speaker's motion about the
person's own resting mouth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d
from torch import Tensor

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel, smoothstep
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.style import MIN_STYLE_FRAMES, STYLE_VERTICES, Style, style_of

PRIOR_S = 0.5  # seconds of speech at which a person's own style and the average speaker's count alike
MOTION_WINDOW_S = 0.6
# IOD; deviation of lip aperture within a window, below which a mouth is still, and above which it speaks
MOTION_IOD = 0.006, 0.014
SPEAKS = 0.5  # of the evidence, from which a frame belongs to the style


@dataclass(frozen=True, kw_only=True)
class StyleEvidence:
    """What a style rests on.

    Attributes:
        speech_s: seconds in which the person speaks.
        share: of the style that is the person's own, in [0, 1]; the rest is the average speaker's.
        told_from: "own speech", whose sound belongs to the face, or "motion" of the mouth alone.
    """

    speech_s: float = 0.0
    share: float = 1.0
    told_from: str = "motion"

    def report(self) -> dict[str, float | str]:
        """Ready for JSON."""
        return {
            "speech_s": round(self.speech_s, 2),
            "own_share": round(self.share, 3),
            "told_from": self.told_from,
        }


def speaking_style(
    geometry: FaceGeometry, face_model: FaceModel, average: Style, gate: np.ndarray | None = None
) -> tuple[Style, StyleEvidence]:
    """The style of a clip's person, as far as the clip shows it.

    Args:
        geometry: of the clip.
        face_model: of the geometry.
        average: style of the average speaker.
        gate: [T] in [0, 1], where the clip's own sound is this face's speech; None where it has none, and the motion
            of the mouth must tell.

    Raises:
        ValueError: fewer than two valid frames.
    """
    moves = mouth_motion(geometry, face_model)
    evidence = (moves if gate is None else gate * moves) * geometry.valid
    speech_s = float(evidence.sum()) * geometry.frame_s
    share = speech_s / (speech_s + PRIOR_S)
    whole = style_of(geometry.expression, geometry.valid, geometry.template, face_model)
    speaks = evidence >= SPEAKS
    own = whole
    if speaks.sum() >= MIN_STYLE_FRAMES:
        own = replace(style_of(geometry.expression, speaks, geometry.template, face_model), rest=whole.rest)
    told_from = "motion" if gate is None else "own speech"
    return (
        about_rest(average, whole, face_model).lerp(own, share),
        StyleEvidence(speech_s=speech_s, share=share, told_from=told_from),
    )


def mouth_motion(geometry: FaceGeometry, face_model: FaceModel) -> np.ndarray:
    """How far each frame's mouth moves as a speaking one does: [T] in [0, 1]."""
    speech = geometry.expression[:, : face_model.num_speech]
    aperture = driven_aperture(speech, geometry.template, face_model).astype(np.float64)
    known = np.flatnonzero(geometry.valid)
    if not len(known):
        return np.zeros(len(geometry))
    aperture = np.interp(np.arange(len(geometry)), known, aperture[known])
    size = min(geometry.frames_in(MOTION_WINDOW_S), len(geometry))
    mean = uniform_filter1d(aperture, size)
    deviation = np.sqrt(np.maximum(uniform_filter1d(aperture**2, size) - mean**2, 0))
    return smoothstep(deviation, *MOTION_IOD)


def about_rest(average: Style, own: Style, face_model: FaceModel) -> Style:
    """The average speaker's motion about the resting mouth of a person's own style."""
    basis = torch.from_numpy(face_model.speech_basis[:, list(STYLE_VERTICES)].astype(np.float32))

    def displacement(coefficients: Tensor) -> Tensor:
        return torch.einsum("k,kpc->pc", coefficients, basis)

    moved = own.rest - average.rest
    return Style(
        mean=average.mean + moved,
        deviation=average.deviation,
        rest=own.rest,
        vertex_mean=average.vertex_mean + displacement(moved),
        vertex_deviation=average.vertex_deviation,
        template=own.template,
    )
