"""Speaking style: statistics of how a person holds and moves the mouth in a reference video."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from personatalk.geometry.face_model import LIPS, FaceModel
from personatalk.geometry.mouth import driven_aperture

JAW_AND_CHEEKS = (152, 148, 377, 149, 378, 150, 379, 172, 397, 200, 199, 50, 280, 205, 425, 206, 426, 207, 427)
STYLE_VERTICES = (*LIPS, *JAW_AND_CHEEKS)
REST_QUANTILE = 0.1  # of lip aperture: a speaking person's mouth is nearly at rest in a tenth of the frames
MIN_STYLE_FRAMES = 2
COEFFICIENTS = ("mean", "deviation", "rest")  # what of a style is speech coefficients


@dataclass(frozen=True, kw_only=True)
class Style:
    """One speaker's style, or a batch of them.

    Attributes:
        mean: [..., K] mean speech coefficients.
        deviation: [..., K] standard deviation of the same.
        rest: [..., K] coefficients of the mouth at rest.
        vertex_mean: [..., P, 3] IOD, mean displacement of the style vertices from the template.
        vertex_deviation: [..., P, 3] IOD, standard deviation of the same.
        template: [..., P, 3] IOD, the style vertices of the template.

    Source: mean and standard deviation of expression vertices, PersonaTalk (arXiv 2409.05379).
    Ours: lips, jaw and cheeks as the vertices, since the paper names none; and the mouth at rest, for silence.
    """

    mean: Tensor
    deviation: Tensor
    rest: Tensor
    vertex_mean: Tensor
    vertex_deviation: Tensor
    template: Tensor

    def lerp(self, other: Style, share: float) -> Style:
        """Interpolate from this style to another; a share above 1 extrapolates."""
        return Style(
            **{f.name: torch.lerp(getattr(self, f.name), getattr(other, f.name), share) for f in fields(Style)}
        )

    def batched(self) -> Style:
        """Add a batch axis of one."""
        return Style(**{f.name: getattr(self, f.name)[None] for f in fields(Style)})

    def to(self, device: torch.device | str) -> Style:
        """Move to a device."""
        return Style(**{f.name: getattr(self, f.name).to(device) for f in fields(Style)})

    @staticmethod
    def stack(styles: list[Style]) -> Style:
        """Make a batch of single styles."""
        return Style(**{f.name: torch.stack([getattr(style, f.name) for style in styles]) for f in fields(Style)})


def style_of(expression: np.ndarray, valid: np.ndarray, template: np.ndarray, face_model: FaceModel) -> Style:
    """Compute a speaker's style from the geometry of a reference video.

    Args:
        expression: [T, Ke] head-space coefficients; those of speech come first.
        valid: [T] bool.
        template: [V, 3] IOD, identity and neutral expression.
        face_model: what the coefficients belong to.

    Raises:
        ValueError: fewer than two valid frames.
    """
    if valid.sum() < MIN_STYLE_FRAMES:
        raise ValueError(f"a style needs {MIN_STYLE_FRAMES} valid frames, got {int(valid.sum())}")
    speech = expression[valid, : face_model.num_speech].astype(np.float32)
    chosen = list(STYLE_VERTICES)
    moved = np.einsum("tk,kpc->tpc", speech, face_model.speech_basis[:, chosen])
    aperture = driven_aperture(speech, template, face_model)
    rest = speech[aperture <= np.quantile(aperture, REST_QUANTILE)].mean(0)
    arrays = {
        "mean": speech.mean(0),
        "deviation": speech.std(0),
        "rest": rest,
        "vertex_mean": moved.mean(0),
        "vertex_deviation": moved.std(0),
        "template": template[chosen],
    }
    return Style(**{name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()})
