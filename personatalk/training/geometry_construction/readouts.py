"""What is fitted in closed form on a trained stage 1: lip closure, voice activity, the population-mean residual."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from personatalk.errors import PersonaTalkError
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.lip_closure import ClosureHead
from personatalk.geometry_construction.model import GeometryModel, hidden_on_grid
from personatalk.geometry_construction.speaker_calibration import hidden_and_prediction, ridge
from personatalk.geometry_construction.style import MIN_STYLE_FRAMES, Style, style_of
from personatalk.speech.features import SpeechFeatures
from personatalk.training.geometry_construction.dataset import GRID_RATE, SpokenClip
from personatalk.training.geometry_construction.losses import PERCENT, SpeechMetric
from personatalk.training.regression import fit_logistic

logger = logging.getLogger(__name__)

CLOSED_IOD = 0.015  # inner lips nearer than this are closed
MIN_SECONDS = 4.0  # of the clips that are used
POPULATION_PRIOR = 300.0  # frames, of the ridge regression
CLOSURE_DECAY, VOICE_DECAY = 3e-3, 1e-3
LOUD_DB = -40.0  # quieter features of a clip say nothing of its voice
VOICE_STEP = 6  # every so many of a clip's features are used


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What stage 1 predicts for the second halves of clips, in the style of the first, and the truth.

    Attributes:
        hidden: [N, D] its last layer.
        residual: [N, K] true coefficients less predicted ones, about their mean over the clip.
        inputs: [N, I] of the closure head.
        closed: [N] bool, whether the lips are closed.
    """

    hidden: Tensor
    residual: Tensor
    inputs: Tensor
    closed: Tensor


@torch.no_grad()
def fit_readouts(
    model: GeometryModel, clips: list[SpokenClip], face_model: FaceModel, noises: Sequence[SpeechFeatures] = ()
) -> None:
    """Fit closure head, voice detector and population-mean residual of a trained model on the CPU.

    Args:
        clips: of training; those of 4 s or more are used.
        noises: in which nobody speaks; without them everything stays a voice.

    Raises:
        PersonaTalkError: no clip is long enough.
    """
    metric = SpeechMetric.of(face_model)
    model.eval().closure.set_face(metric.gap_basis / PERCENT, metric.gram, covariance_of_mouths(clips))
    parts = [found for clip in clips if (found := predict_second_half(model, clip, face_model)) is not None]
    if not parts:
        raise PersonaTalkError(f"no training clip of {MIN_SECONDS:g} s or more to fit the closure of the lips on")
    predictions = Predictions(
        **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Predictions)}
    )
    model.population_residual.copy_(
        ridge(
            predictions.hidden.double(),
            predictions.residual.double(),
            frame_s=1 / GRID_RATE,
            prior=POPULATION_PRIOR,
        )
    )
    fit_closure(model.closure, predictions.inputs, predictions.closed)
    if noises:
        fit_voice(model, clips, noises)
    logger.info("readouts: %d clips, lips closed in %.3f of frames", len(parts), predictions.closed.float().mean())


def covariance_of_mouths(clips: Sequence[SpokenClip]) -> Tensor:
    """[K, K] covariance of the coefficients about each clip's mean, every clip counting once."""
    trusted = [clip.expression[clip.valid] for clip in clips if clip.valid.sum() >= MIN_STYLE_FRAMES]
    return torch.from_numpy(np.mean([np.cov(mouths.T, bias=True) for mouths in trusted], 0))


def predict_second_half(model: GeometryModel, clip: SpokenClip, face_model: FaceModel) -> Predictions | None:
    """Run stage 1 on the second half of a clip; None where it is too short or its mouth is not seen."""
    half = len(clip) // 2
    first, judged = clip.valid[:half], np.flatnonzero(clip.valid[half:]) + half
    if len(clip) < MIN_SECONDS * GRID_RATE or first.sum() < MIN_STYLE_FRAMES or len(judged) < MIN_STYLE_FRAMES:
        return None
    style = style_of(clip.expression[:half], first, clip.template, face_model)
    features, times = clip.speech["clean"], torch.from_numpy(clip.times[judged])
    hidden, predicted = hidden_and_prediction(model, features, times.clamp(0, features.duration), style)
    residual = torch.from_numpy(clip.expression[judged]) - predicted
    aperture = driven_aperture(clip.expression[judged], clip.template, face_model)
    return Predictions(
        hidden=hidden,
        residual=residual - residual.mean(0),
        inputs=closure_inputs(model, clip, style, judged),
        closed=torch.from_numpy(aperture < CLOSED_IOD),
    )


def closure_inputs(model: GeometryModel, clip: SpokenClip, style: Style, judged: np.ndarray) -> Tensor:
    """Inputs [N, I] of the closure head for frames [N] of a clip, at the nearest points of the grid of time."""
    features = clip.speech["clean"]
    stop = int(features.duration * GRID_RATE) + 1
    hidden = hidden_on_grid(model, features, -model.reach, stop + model.reach, style)
    predicted = model.read_out(hidden[None], style.batched())[0]
    inputs = model.closure.inputs(hidden, predicted, style)
    rows = np.clip(np.round(clip.times[judged] * GRID_RATE), 0, stop - 1).astype(int)
    return inputs[torch.from_numpy(rows) + model.reach]


def fit_closure(head: ClosureHead, inputs: Tensor, closed: Tensor) -> None:
    """Logistic regression from the head's inputs [N, I] to whether the lips are closed, [N] bool."""
    head.mean.copy_(inputs.mean(0))
    head.deviation.copy_(inputs.std(0) + 1e-3)
    if closed.unique().numel() == 2:  # else the head stays as it is, and closes nothing
        values = ((inputs - head.mean) / head.deviation).numpy()
        set_linear(head.linear, fit_logistic(values, closed.numpy(), decay=CLOSURE_DECAY))


@torch.no_grad()
def fit_voice(model: GeometryModel, clips: list[SpokenClip], noises: Sequence[SpeechFeatures]) -> None:
    """Logistic regression from audio features to whether somebody speaks; voices and noises weigh the same.

    Args:
        clips: whose clean and augmented audio is a voice.
        noises: in which nobody speaks.
    """
    spoken = [features for clip in clips for features in clip.speech.values()]
    voices = torch.cat([f.values[f.level_db > LOUD_DB][::VOICE_STEP] for f in spoken]).float()
    others = torch.cat([f.values for f in noises]).float()
    values = model.standardise(torch.cat([voices, others])).numpy()
    is_voice = np.arange(len(values)) < len(voices)
    weight = np.where(is_voice, 0.5 / len(voices), 0.5 / len(others)) * len(values)
    set_linear(model.voice.linear, fit_logistic(values, is_voice, decay=VOICE_DECAY, weight=weight))


def set_linear(layer: nn.Linear, fitted: LogisticRegression) -> None:
    """Give a layer with one output the slopes and the intercept of a logistic regression."""
    layer.weight.copy_(torch.from_numpy(fitted.coef_))
    layer.bias.copy_(torch.from_numpy(fitted.intercept_))
