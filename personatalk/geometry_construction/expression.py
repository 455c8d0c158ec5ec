"""The expression of the moment: what a face does slowly beside speaking, kept in the dub.

A smile, a tense lip, a mouth held open: stage 1 knows nothing of them, and they last longer than a syllable. They are
the low-passed residual of the source's geometry against what stage 1 predicts from the source's own speech.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry_construction.lip_closure import ClosureHead
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.style import Style
from personatalk.speech.features import SpeechFeatures

APERTURE_SIGMA_S = 1.7  # of the low-pass filter over what opens and closes the mouth; narrower ones leak in silence
SHAPE_SIGMA_S = 0.3  # over all else: corners, protrusion, jaw; narrower ones let syllables through
TRUST = 0.1  # share of a full window of valid frames at which half of a residual is believed
FACE_ALONE = 0.5  # weight of what the face alone tells
MAX_GAP_S = 0.2  # a face that was lost for longer begins anew


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Widths of the low-pass filter, standard deviations in s; 0 takes the part away."""

    aperture_s: float = APERTURE_SIGMA_S
    shape_s: float = SHAPE_SIGMA_S


@dataclass(frozen=True, kw_only=True)
class MomentExpression:
    """The expression of the moment of a clip.

    Attributes:
        values: [T, K] to add to the predicted speech coefficients of its frames.
        is_against_speech: whether it was told from the clip's own speech; if not, from the face alone.
    """

    values: np.ndarray
    is_against_speech: bool

    def report(self, strength: float) -> dict[str, float | str]:
        """Ready for JSON."""
        return {
            "strength": strength,
            "told_from": "own speech" if self.is_against_speech else "the face alone",
            "deviation": round(float(self.values.std(0).mean()), 4),
        }


def moment_expression(
    model: GeometryModel,
    geometry: FaceGeometry,
    style: Style,
    features: SpeechFeatures | None,
    *,
    offset_s: float = 0.0,
    widths: Filter | None = None,
) -> MomentExpression:
    """Tell the expression of the moment of a clip.

    Args:
        model: stage 1, calibrated to the person where that was possible.
        geometry: of the clip.
        style: of the person in this clip.
        features: of the clip's own speech; None where it has none, or another's. Then the face alone must tell, about
            its mean over the clip, and counts FACE_ALONE as much: what is slow in speech itself cannot be told apart.
        offset_s: by which the picture comes after the sound.
        widths: of the filter.
    """
    if features is not None:
        residual, weight = residual_of(model, features, geometry, style, offset_s), 1.0
    else:
        speech = geometry.expression[:, : model.config.expression_dim]
        residual, weight = speech - speech[geometry.valid].mean(0), FACE_ALONE
    slow = weight * low_pass(residual, geometry, model.closure, widths or Filter())
    return MomentExpression(values=slow.astype(np.float32), is_against_speech=features is not None)


def residual_of(
    model: GeometryModel, features: SpeechFeatures, geometry: FaceGeometry, style: Style, offset_s: float
) -> np.ndarray:
    """What a clip's geometry has beside its own speech: [T, K] true coefficients less predicted ones."""
    predicted = predict_expression(model, features, torch.from_numpy(geometry.times - offset_s), style).numpy()
    return geometry.expression[:, : predicted.shape[1]] - predicted


def low_pass(residual: np.ndarray, geometry: FaceGeometry, closure: ClosureHead, widths: Filter) -> np.ndarray:
    """Keep the slow part of a residual [T, K]; aperture and shape are filtered apart.

    Frames without a face have no say, and no window reaches over a cut or a longer gap.
    """
    aperture = aperture_part(residual, closure)
    slow = np.zeros_like(residual)
    for segment in segments_of(geometry):
        valid = geometry.valid[segment].astype(np.float64)
        for part, width in ((aperture, widths.aperture_s), (residual - aperture, widths.shape_s)):
            if width:
                slow[segment] += smooth(part[segment], valid, width / geometry.frame_s)
    return slow


def aperture_part(residual: np.ndarray, closure: ClosureHead) -> np.ndarray:
    """The part of a residual [T, K] that moves the gap between the lips, by the least motion of the face: [T, K]."""
    gap_basis = closure.gap_basis.numpy()
    return residual @ gap_basis.reshape(len(gap_basis), -1) @ closure.parting.numpy()


def smooth(values: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Normalised convolution [T, K] with a Gaussian of `sigma` frames; little evidence gives little."""
    total = gaussian_filter1d(values * weight[:, None], sigma, axis=0, mode="constant")
    mass = gaussian_filter1d(weight, sigma, mode="constant")
    return total / (mass + TRUST * np.exp(-mass / TRUST))[:, None]


def segments_of(geometry: FaceGeometry) -> list[slice]:
    """Runs of frames between cuts: where the shot ends, the face jumps, or was lost for longer than MAX_GAP_S."""
    frames = np.flatnonzero(geometry.valid)
    if len(frames) < 2:
        return [slice(0, len(geometry))]
    moved = np.linalg.norm(np.diff(geometry.translation[frames], axis=0), axis=1) / geometry.scale[frames[1:]]
    grown = np.abs(np.diff(np.log(geometry.scale[frames])))
    lost = np.diff(geometry.times[frames]) > MAX_GAP_S
    is_cut = np.diff(geometry.shot[frames]) != 0
    cuts = frames[1:][(moved > 0.5) | (grown > 0.2) | lost | is_cut]
    edges = [0, *cuts.tolist(), len(geometry)]
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
