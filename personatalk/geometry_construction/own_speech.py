"""Whether the sound of a clip is the speech of its face: by the sync network, and by stage 1's idea of the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.speech.features import SpeechFeatures
from personatalk.speech.sync_network import (
    IN_SYNC_CONFIDENCE,
    MAX_OFFSET_S,
    Synchrony,
    SyncNetwork,
    lip_features,
    measure_synchrony,
)

NEAR_S = 0.04  # s to either side of the offset that the sync network found
NUM_COMPARED = 6  # first speech coefficients that are compared, beside lip aperture and mouth width
AGREEMENT_WEIGHT = 3.0  # of the correlation, against the sync network's confidence over what it asks for
MIN_EVIDENCE = 2.25  # on training persons passed by 3 in 100 of other people's voices of 2 s, 1 in 200 of 4 s


@dataclass(frozen=True, kw_only=True)
class OwnSpeech:
    """What speaks for a sound's being the speech of a face.

    Attributes:
        synchrony: as the sync network has it.
        agreement: -1 to 1, correlation of the mouth with the one that stage 1 predicts from the sound, at that offset.
    """

    synchrony: Synchrony
    agreement: float

    @property
    def is_inside(self) -> bool:
        """Whether the offset lies inside the search; at its edge it is the tail of something else, and no evidence."""
        return abs(self.synchrony.offset_s) <= MAX_OFFSET_S

    @property
    def certainty(self) -> float:
        """What the sync network says, 1 where it would accept the sound by itself."""
        return self.synchrony.confidence / (IN_SYNC_CONFIDENCE * self.synchrony.valid_s**0.5)

    @property
    def evidence(self) -> float:
        """Both witnesses together; `MIN_EVIDENCE` and more is own speech."""
        return self.certainty + AGREEMENT_WEIGHT * self.agreement if self.is_inside else 0.0

    @property
    def is_own(self) -> bool:
        """Whether the sound is the face's."""
        return self.evidence >= MIN_EVIDENCE


def hear_own_speech(
    network: SyncNetwork,
    model: GeometryModel,
    features: SpeechFeatures,
    geometry: FaceGeometry,
    face_model: FaceModel,
) -> OwnSpeech | None:
    """Weigh whether a sound is the speech of a face.

    Args:
        network: of the features' kind.
        model: stage 1, not calibrated.
        features: of the sound; its clock is that of the geometry.
        geometry: of the face.
        face_model: of the geometry.

    Returns:
        None where there is too little of either.

    Ours: in a second or two, by chance, lips fit many a sound somewhere within half a second. That they also move as
    the average speaker's would is a second witness, which learnt from the same voices but judges amplitude and shape.
    """
    found = measure_synchrony(network, features, geometry, face_model)
    if found is None:
        return None
    return OwnSpeech(synchrony=found, agreement=agreement(model, features, geometry, face_model, found.offset_s))


@torch.inference_mode()
def agreement(
    model: GeometryModel, features: SpeechFeatures, geometry: FaceGeometry, face_model: FaceModel, offset_s: float
) -> float:
    """Correlate a mouth with the average speaker's for the same sound; the best within a frame of an offset.

    Half of the weight has lip aperture, half the mean of the mouth's width and the first speech coefficients.
    """
    own = lip_features(geometry.expression, geometry.valid, geometry.template, face_model)
    columns = [own.shape[1] - 2, *range(min(NUM_COMPARED, face_model.num_speech)), own.shape[1] - 1]
    shifted = geometry.times - offset_s + np.array(((-NEAR_S,), (0.0,), (NEAR_S,)))
    predicted = predict_expression(
        model, features, torch.from_numpy(shifted.ravel()), model.average_style, matches_amplitude=False
    )
    best = -1.0
    for times, expression in zip(shifted, predicted.numpy().reshape(*shifted.shape, -1), strict=True):
        heard = geometry.valid & (times >= 0) & (times < features.duration)
        if heard.sum() < 2:
            continue
        lips = lip_features(expression, heard, geometry.template, face_model)
        by_column = [_correlation(own[heard, column], lips[heard, column]) for column in columns]
        best = max(best, 0.5 * by_column[0] + 0.5 * float(np.mean(by_column[1:])))
    return best


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Of [T] and [T]; 0 where one of them does not change."""
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / np.sqrt((first @ first) * (second @ second) + 1e-9))
