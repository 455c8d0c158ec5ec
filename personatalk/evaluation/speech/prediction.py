"""How good stage 1 is on persons it never saw, beside the person's mean mouth and a linear map."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from personatalk import metrics
from personatalk.checkpoints import load_config, load_into
from personatalk.evaluation.geometry.fitting import FACE_MODEL_FILE
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.report import report_of
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import calibrate, find_offset
from personatalk.geometry_construction.style import Style, style_of
from personatalk.media import read_audio
from personatalk.speech.encoders import load_speech_encoder
from personatalk.speech.features import SpeechFeatures, features_at
from personatalk.speech.sync_network import SyncNetwork, load_sync_network
from personatalk.training.corpus import Clip, cache_path, read_geometry, spread_over_persons, with_measured_offsets

MIN_SECONDS = 2.0
MIN_FIT = 0.3  # below, the sound may belong to another face
CLOSED_IOD = 0.015
OPEN_IOD = 0.025  # lips that are farther apart are surely not shut
NEVER = -1e3  # logit at which lips are not shut
Align = Callable[[list[Clip]], list[Clip]]
RIDGE_STRENGTHS = (1e2, 1e3, 1e4, 1e5)
RIDGE_CLIPS = 600
RIDGE_REACH_S = 0.2
RIDGE_COMPONENTS = 64  # of the features, where many frames are seen at once


@dataclass(frozen=True, kw_only=True)
class SpeechClip:
    """A clip with sound, cut in two: style is read off the first half, the second is judged.

    Attributes:
        features: what the encoder heard in the whole clip.
        times: [T] s on the sound's clock, of the second half.
        truth: [T, V, 3] IOD, the fitted geometry of the second half.
        speech: [T, K] the same as speech coefficients.
        style: of the first half.
        template: [V, 3] IOD.
        first: geometry of the first half, of the trusted frames.
    """

    features: SpeechFeatures
    times: torch.Tensor
    truth: np.ndarray
    speech: np.ndarray
    style: Style
    template: np.ndarray
    first: FaceGeometry


def evaluate_speech(inputs: EvaluationInputs, *, measured_offsets: bool = False) -> dict:
    """Predict the second half of each clip's mouth from its sound, in the style of its first half.

    Args:
        measured_offsets: sound and picture, in training the linear maps and in judging all methods, lie as `train sync`
            measured them, not as the manifest guesses.

    Returns:
        what `report_of` gives, a row a method; errors in % of the inter-ocular distance.
    """
    face_model = FaceModel.load(inputs.checkpoints / FACE_MODEL_FILE)
    model, network = load_geometry_model(inputs.checkpoints), load_sync_network(inputs.checkpoints)
    bare = copy.deepcopy(model)
    torch.nn.init.constant_(bare.closure.linear.bias, NEVER)
    align = partial(with_measured_offsets, corpus=inputs.corpus, is_required=True) if measured_offsets else list
    usable = align([c for c in inputs.read_clips() if _usable(c)])
    chosen = spread_over_persons(usable, inputs.limit)
    clips = [clip for clip in (read_speech_clip(inputs, c, face_model) for c in chosen) if clip is not None]
    frame_map = fit_linear_map(inputs, face_model, reach_s=0.0, align=align)
    window_map = fit_linear_map(inputs, face_model, reach_s=RIDGE_REACH_S, align=align)
    rows: dict[str, list[dict[str, float]]] = {}
    for index, clip in enumerate(clips):
        foreign = clips[(index + 1) % len(clips)]
        mean = clip.style.mean.numpy()
        own, _ = calibrate(model, clip.features, clip.first, clip.style, offset_s=0.0)
        predictions = {
            "person's mean mouth": np.broadcast_to(mean, clip.speech.shape),
            "linear map, one frame": mean + frame_map(clip.features, clip.times),
            "linear map, 0.2 s either side": mean + window_map(clip.features, clip.times),
            "ours": predict_expression(model, clip.features, clip.times, clip.style).numpy(),
            "ours, lips not shut": predict_expression(bare, clip.features, clip.times, clip.style).numpy(),
            "ours, calibrated on the first half": predict_expression(
                own, clip.features, clip.times, clip.style
            ).numpy(),
            "ours, offset measured on the first half, calibrated": measured(model, network, clip, face_model),
            "ours, another clip's speech": predict_expression(model, foreign.features, clip.times, clip.style).numpy(),
        }
        for method, speech in predictions.items():
            rows.setdefault(method, []).append(speech_figures(speech, clip, face_model))
    name = "speech-measured" if measured_offsets else "speech"
    return report_of(name, rows, clips=len(clips), skipped=len(chosen) - len(clips))


def measured(model: GeometryModel, network: SyncNetwork, clip: SpeechClip, face_model: FaceModel) -> np.ndarray:
    """As a dub does it: the offset is not the manifest's but measured, and stage 1 is calibrated at it."""
    found = find_offset(network, clip.features, clip.first, face_model)
    offset_s = found.offset_s if found.in_sync else 0.0
    own, _ = calibrate(model, clip.features, clip.first, clip.style, offset_s=offset_s)
    return predict_expression(own, clip.features, clip.times - offset_s, clip.style).numpy()


def load_geometry_model(folder: Path) -> GeometryModel:
    """Load stage 1.

    Raises:
        CheckpointError: its weights are missing or do not fit.
    """
    model = GeometryModel(load_config(GeometryModelConfig, folder / "geometry.json"))
    load_into(model, folder / "geometry.safetensors")
    return model.eval()


def speech_figures(speech: np.ndarray, clip: SpeechClip, face_model: FaceModel) -> dict[str, float]:
    """Judge predicted speech coefficients [T, K] by the true geometry."""
    output = face_model.vertices(clip.template, np.asarray(speech, np.float32))
    opened, true = lip_aperture(output), lip_aperture(clip.truth)
    closed = true < CLOSED_IOD
    return {
        **metrics.aperture_scores(output, clip.truth),
        "lip_error_%": 100 * metrics.lip_vertex_error(output, clip.truth),
        "lip_velocity_error_%": 100 * metrics.lip_velocity_error(output, clip.truth),
        "closures_met": float((opened[closed] < CLOSED_IOD).mean()) if closed.any() else float("nan"),
        **closure_events(opened, true),
    }


def closure_events(opened: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Compare closures as events, runs of frames, each with a frame of grace at either end.

    Args:
        opened: [T] IOD, openness.
        true: [T] IOD.

    Returns:
        events_met, the share of true closures in which the lips come within 1.5 % of the inter-ocular distance, and
        false_events, the share of the output's closures in which the true lips never come within 2.5 %.
    """
    met = [opened[start:stop].min() < CLOSED_IOD for start, stop in runs(true < CLOSED_IOD)]
    false = [true[start:stop].min() > OPEN_IOD for start, stop in runs(opened < CLOSED_IOD)]
    return {
        "events_met": float(np.mean(met)) if met else float("nan"),
        "false_events": float(np.mean(false)) if false else float("nan"),
    }


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Runs of true values in [T], start and stop, a frame longer at either end."""
    steps = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return [(max(0, start - 1), stop + 1) for start, stop in zip(starts, stops, strict=True)]


def read_speech_clip(inputs: EvaluationInputs, clip: Clip, face_model: FaceModel) -> SpeechClip | None:
    """Read a clip for judging; None where it was not tracked or shows too little of the face."""
    geometry = read_geometry(inputs.corpus, clip)
    if geometry is None:
        return None
    first = np.arange(len(geometry)) < len(geometry) // 2
    judged = ~first & geometry.valid
    if (geometry.valid & first).sum() < 10 or judged.sum() < 10:
        return None
    times = geometry.times - clip.offset_s
    return SpeechClip(
        features=read_features(inputs, clip),
        times=torch.from_numpy(times[judged]),
        truth=face_model.vertices(geometry.template, geometry.expression[judged]),
        speech=geometry.expression[judged, : face_model.num_speech],
        style=style_of(geometry.expression, geometry.valid & first, geometry.template, face_model),
        template=geometry.template,
        first=beginning_of(replace(geometry, times=times), geometry.valid & first),
    )


def beginning_of(geometry: FaceGeometry, kept: np.ndarray) -> FaceGeometry:
    """The geometry from its start to the last of the frames kept, [T] bool, with only these to be trusted."""
    stop = int(np.flatnonzero(kept).max()) + 1 if kept.any() else 0
    per_frame = ("expression", "rotation", "translation", "scale", "times")
    return replace(
        geometry, valid=(geometry.valid & kept)[:stop], **{name: getattr(geometry, name)[:stop] for name in per_frame}
    )


def read_features(inputs: EvaluationInputs, clip: Clip) -> SpeechFeatures:
    """Read a clip's cached speech features, or encode its sound where they were not kept."""
    path = cache_path(inputs.corpus, "audio", clip)
    if not path.is_file():
        return load_speech_encoder(inputs.checkpoints).encode(read_audio(inputs.clip_path(clip)))
    with np.load(path) as saved:
        return SpeechFeatures(
            values=torch.from_numpy(saved["clean_values"]).float(),
            level_db=torch.from_numpy(saved["clean_level_db"]),
        )


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """A linear map from speech features around a frame to its speech coefficients, less the person's mean.

    Attributes:
        offsets: [N] s, where around the frame it listens.
        mean: [C] of the features.
        components: [C, P] what is kept of them.
        weights: [N * P + 1, K].
    """

    offsets: torch.Tensor
    mean: torch.Tensor
    components: torch.Tensor
    weights: torch.Tensor

    def __call__(self, features: SpeechFeatures, times: torch.Tensor) -> np.ndarray:
        """Predict [T, K] at times [T] s."""
        return (self.inputs(features, times) @ self.weights).numpy()

    def inputs(self, features: SpeechFeatures, times: torch.Tensor) -> torch.Tensor:
        """[T, N * P + 1] what it hears, and a one."""
        heard = features_at(features, times[:, None] + self.offsets).float()
        heard = ((heard - self.mean) @ self.components).flatten(1)
        return torch.cat([heard, torch.ones(len(heard), 1)], dim=1)


def fit_linear_map(
    inputs: EvaluationInputs, face_model: FaceModel, *, reach_s: float, align: Align = list
) -> LinearMap:
    """Fit ridge regression on the training clips; a fifth of them choose its strength.

    Args:
        reach_s: how far on either side it listens; 0 for the frame alone.
        align: gives the clips their offsets.
    """
    examples = _training_examples(inputs, face_model, align)
    values = torch.cat([features_at(features, times).float() for features, times, _ in examples])
    mean = values.mean(0)
    directions = torch.linalg.eigh(torch.cov(values.T))[1].flip(1)
    offsets = torch.arange(-5, 6) * reach_s / 5 if reach_s else torch.zeros(1)
    components = directions[:, :RIDGE_COMPONENTS] if reach_s else directions
    empty = LinearMap(offsets=offsets, mean=mean, components=components, weights=torch.zeros(0))
    heard = [empty.inputs(features, times) for features, times, _ in examples]
    targets = [target for *_, target in examples]
    cut = len(heard) * 4 // 5
    inside, outside = (
        (torch.cat(heard[:cut]), torch.cat(targets[:cut])),
        (torch.cat(heard[cut:]), torch.cat(targets[cut:])),
    )
    errors = {s: float((outside[0] @ _ridge(*inside, s) - outside[1]).square().mean()) for s in RIDGE_STRENGTHS}
    weights = _ridge(torch.cat(heard), torch.cat(targets), min(errors, key=errors.get))
    return LinearMap(offsets=offsets, mean=mean, components=components, weights=weights)


def _training_examples(
    inputs: EvaluationInputs, face_model: FaceModel, align: Align
) -> list[tuple[SpeechFeatures, torch.Tensor, torch.Tensor]]:
    """Features, times [T] s, and speech coefficients [T, K] less the clip's mean; persons in turn."""
    examples = []
    for clip in spread_over_persons(align([c for c in inputs.read_clips("train") if _usable(c)]), RIDGE_CLIPS):
        geometry = read_geometry(inputs.corpus, clip)
        if geometry is None or geometry.valid.sum() < 20:
            continue
        speech = torch.from_numpy(geometry.expression[geometry.valid, : face_model.num_speech])
        times = torch.from_numpy(geometry.times[geometry.valid] - clip.offset_s)
        examples.append((read_features(inputs, clip), times, speech - speech.mean(0)))
    return examples


def _ridge(inputs: torch.Tensor, targets: torch.Tensor, strength: float) -> torch.Tensor:
    penalty = torch.eye(inputs.shape[1]) * strength
    penalty[-1, -1] = 0
    return torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets)


def _usable(clip: Clip) -> bool:
    return clip.has_fitting_sound(MIN_FIT) and clip.is_long_enough(MIN_SECONDS)
