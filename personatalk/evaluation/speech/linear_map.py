"""The linear baseline of stage 1: ridge regression from audio features around a frame to speech coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.speech.clips import MIN_FIT, MIN_SECONDS, on_audio_clock, read_features
from personatalk.geometry.face_model import FaceModel
from personatalk.speech.features import SpeechFeatures, features_at
from personatalk.training.corpus import Clip, read_geometry, spread_over_persons

PENALTIES = (1e2, 1e3, 1e4, 1e5)
MAX_CLIPS = 600
MIN_FRAMES = 20
REACH_S, STEPS_EITHER_SIDE = 0.2, 5
COMPONENTS = 64  # of the features, where many moments are read at once

Align = Callable[[list[Clip]], list[Clip]]  # gives clips their offsets


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """A linear map from audio features around a frame to its speech coefficients, less the person's mean.

    Attributes:
        offsets: [N] s, the moments around the frame whose features are read.
        projection: of the features.
        regression: from the N projected features, side by side.
    """

    offsets: torch.Tensor
    projection: PCA
    regression: Ridge

    def __call__(self, features: SpeechFeatures, times: torch.Tensor) -> np.ndarray:
        """Predict [T, K] at times [T] s."""
        return self.regression.predict(inputs_at(features, times, self.offsets, self.projection))


def inputs_at(features: SpeechFeatures, times: torch.Tensor, offsets: torch.Tensor, projection: PCA) -> np.ndarray:
    """Read features at times [T] plus offsets [N], projected to P dimensions: [T, N * P]."""
    values = features_at(features, times[:, None] + offsets).float().flatten(0, 1).numpy()
    return projection.transform(values).reshape(len(times), -1)


def fit_linear_map(
    inputs: EvaluationInputs, face_model: FaceModel, *, reach_s: float = REACH_S, align: Align = list
) -> LinearMap:
    """Fit on the training clips; a fifth of them choose the penalty.

    Args:
        inputs: where the clips are.
        face_model: of the coefficients.
        reach_s: how far on either side features are read; 0 for the frame alone.
        align: gives the clips their offsets.
    """
    examples = training_examples(inputs, face_model, align)
    offsets = torch.linspace(-reach_s, reach_s, 2 * STEPS_EITHER_SIDE + 1) if reach_s else torch.zeros(1)
    values = np.concatenate([features_at(features, times).float().numpy() for features, times, _ in examples])
    projection = PCA(COMPONENTS if reach_s else None).fit(values)
    read = [inputs_at(features, times, offsets, projection) for features, times, _ in examples]
    targets = [target for *_, target in examples]
    cut = len(read) * 4 // 5
    held_out = np.concatenate(read[cut:]), np.concatenate(targets[cut:])

    def error(penalty: float) -> float:
        fitted = Ridge(penalty).fit(np.concatenate(read[:cut]), np.concatenate(targets[:cut]))
        return float(np.square(fitted.predict(held_out[0]) - held_out[1]).mean())

    regression = Ridge(min(PENALTIES, key=error)).fit(np.concatenate(read), np.concatenate(targets))
    return LinearMap(offsets=offsets, projection=projection, regression=regression)


def training_examples(
    inputs: EvaluationInputs, face_model: FaceModel, align: Align
) -> list[tuple[SpeechFeatures, torch.Tensor, np.ndarray]]:
    """Features, times [T] s, and speech coefficients [T, K] less the clip's mean; persons in turn."""
    usable = [c for c in inputs.read_clips("train") if c.has_fitting_sound(MIN_FIT) and c.is_long_enough(MIN_SECONDS)]
    examples = []
    for clip in spread_over_persons(align(usable), MAX_CLIPS):
        geometry = read_geometry(inputs.corpus, clip)
        if geometry is None or geometry.valid.sum() < MIN_FRAMES:
            continue
        geometry = on_audio_clock(geometry, clip)
        speech = geometry.expression[geometry.valid, : face_model.num_speech]
        times = torch.from_numpy(geometry.times[geometry.valid])
        examples.append((read_features(inputs, clip), times, speech - speech.mean(0)))
    return examples
