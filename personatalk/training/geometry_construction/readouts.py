"""What is fitted on top of a trained stage 1: when lips are shut, who is a voice, what it gets wrong with everyone."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.model import GeometryModel, hidden_on_grid
from personatalk.geometry_construction.speaker_calibration import hidden_and_prediction, ridge
from personatalk.geometry_construction.style import MIN_STYLE_FRAMES, Style, style_of
from personatalk.speech.features import SpeechFeatures
from personatalk.training.geometry_construction.dataset import GRID_RATE, SpokenClip
from personatalk.training.geometry_construction.losses import PERCENT, SpeechMetric

logger = logging.getLogger(__name__)

CLOSED_IOD = 0.015  # inner lips nearer than this are shut
MIN_SECONDS = 4.0  # of clips that are worth listening to
POPULATION_PRIOR = 300.0  # frames
CLOSURE_DECAY, VOICE_DECAY = 3e-3, 1e-3
LOUD_DB = -40.0  # features that are louder have something in them to be told
VOICE_STEP = 6  # every so many of a clip's features are learnt from


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What stage 1 knew of the second halves of clips, in the style of the first, and what was true.

    Attributes:
        hidden: [N, D] its last layer.
        missed: [N, K] the true coefficients less its own, about their mean over the clip.
        inputs: [N, I] what a closure is told from.
        closed: [N] whether the lips were shut.
    """

    hidden: Tensor
    missed: Tensor
    inputs: Tensor
    closed: Tensor


@torch.no_grad()
def fit_readouts(
    model: GeometryModel, clips: list[SpokenClip], face_model: FaceModel, noises: list[SpeechFeatures] = ()
) -> None:
    """Fill the closure head and the population-mean residual of a trained model, from training clips of 4 s or more.

    Args:
        noises: in which nobody speaks; without them everything stays a voice.

    Raises:
        ValueError: no clip is long enough.
    """
    metric = SpeechMetric.of(face_model)
    model.eval().closure.set_face(metric.gap_basis / PERCENT, metric.gram)
    parts = [readings for clip in clips if (readings := read(model, clip, face_model)) is not None]
    if not parts:
        raise ValueError(f"no clip of {MIN_SECONDS:g} s or more to fit the closure of the lips on")
    readings = Readings(
        **{
            name: torch.cat([getattr(part, name) for part in parts])
            for name in ("hidden", "missed", "inputs", "closed")
        }
    )
    population_residual = ridge(
        readings.hidden.double(), readings.missed.double(), frame_s=1 / GRID_RATE, prior=POPULATION_PRIOR
    )
    model.population_residual.copy_(population_residual)
    fit_closure(model, readings)
    if noises:
        fit_voice(model, clips, noises)
    logger.info("readouts: %d clips, %.3f of frames shut", len(parts), readings.closed.float().mean())


def read(model: GeometryModel, clip: SpokenClip, face_model: FaceModel) -> Readings | None:
    """Read a clip; None where it is too short or its mouth is not seen."""
    half = len(clip) // 2
    first, judged = clip.valid[:half], np.flatnonzero(clip.valid[half:]) + half
    if len(clip) < MIN_SECONDS * GRID_RATE or first.sum() < MIN_STYLE_FRAMES or len(judged) < MIN_STYLE_FRAMES:
        return None
    style = style_of(clip.expression[:half], first, clip.template, face_model)
    features, times = clip.speech["clean"], torch.from_numpy(clip.times[judged])
    hidden, said = hidden_and_prediction(model, features, times.clamp(0, features.duration), style)
    missed = torch.from_numpy(clip.expression[judged]) - said
    inputs = closure_inputs(model, clip, style, judged)
    opening = driven_aperture(clip.expression[judged], clip.template, face_model)
    return Readings(
        hidden=hidden, missed=missed - missed.mean(0), inputs=inputs, closed=torch.from_numpy(opening < CLOSED_IOD)
    )


def closure_inputs(model: GeometryModel, clip: SpokenClip, style: Style, judged: np.ndarray) -> Tensor:
    """What the closure head sees of frames [N] of a clip, at the nearest points of the grid."""
    features = clip.speech["clean"]
    stop = int(features.duration * GRID_RATE) + 1
    hidden = hidden_on_grid(model, features, -model.reach, stop + model.reach, style)
    said = model.read_out(hidden[None], style.batched())[0]
    inputs = model.closure.inputs(hidden, said, style)
    rows = np.clip(np.round(clip.times[judged] * GRID_RATE), 0, stop - 1).astype(int)
    return inputs[torch.from_numpy(rows) + model.reach]


def fit_closure(model: GeometryModel, readings: Readings) -> None:
    """Logistic regression from what the closure head sees to whether the lips are shut."""
    head, inputs = model.closure, readings.inputs
    head.mean.copy_(inputs.mean(0))
    head.deviation.copy_(inputs.std(0) + 1e-3)
    solution = logistic_regression(
        (inputs - head.mean) / head.deviation, readings.closed.float(), torch.ones(len(inputs)), CLOSURE_DECAY
    )
    head.linear.weight.copy_(solution[None, :-1])
    head.linear.bias.copy_(solution[-1:])


@torch.no_grad()
def fit_voice(model: GeometryModel, clips: list[SpokenClip], noises: list[SpeechFeatures]) -> None:
    """Logistic regression from what stage 1 hears to whether it is a voice, with and without noise around it.

    Voices and noises weigh the same.
    """
    spoken = [features for clip in clips for features in clip.speech.values()]
    voices = torch.cat([f.values[f.level_db > LOUD_DB][::VOICE_STEP] for f in spoken]).float()
    others = torch.cat([f.values for f in noises]).float()
    heard = model.standardise(torch.cat([voices, others]))
    is_voice = torch.arange(len(heard)) < len(voices)
    weight = torch.where(is_voice, 0.5 / len(voices), 0.5 / len(others)) * len(heard)
    solution = logistic_regression(heard, is_voice.float(), weight, VOICE_DECAY)
    model.voice.linear.weight.copy_(solution[None, :-1])
    model.voice.linear.bias.copy_(solution[-1:])


def logistic_regression(inputs: Tensor, target: Tensor, weight: Tensor, decay: float) -> Tensor:
    """Slopes and intercept [I + 1] of a logistic regression.

    Args:
        inputs: [N, I]
        target: [N] 0 or 1.
        weight: [N] of the examples, 1 on average.
        decay: of the squared slopes.
    """
    solution = torch.zeros(inputs.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([solution], max_iter=60)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            logits = inputs @ solution[:-1] + solution[-1]
            loss = F.binary_cross_entropy_with_logits(logits, target, weight)
            loss = loss + decay * solution[:-1].square().sum()
            loss.backward()
        return loss

    optimizer.step(evaluate)
    return solution.detach()
