"""Stage 1's training: statistics of the corpus, the run, validation on unseen persons, and what ships."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from personatalk.checkpoints import load_into
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.style import Style, style_of
from personatalk.metrics.geometry import correlation, deviation_ratio, lip_velocity_error, lip_vertex_error
from personatalk.speech.sync_network import SyncNetwork
from personatalk.training.config import GeometryTrainingConfig
from personatalk.training.corpus import Clip
from personatalk.training.geometry_construction.dataset import (
    GeometryBatch,
    GeometryDataset,
    SpokenClip,
    load_spoken_clips,
)
from personatalk.training.geometry_construction.losses import SpeechMetric, geometry_losses, sync_loss
from personatalk.training.geometry_construction.readouts import fit_readouts
from personatalk.training.loop import BEST_NAME, STATE_NAME, TrainState, train
from personatalk.training.speech_cache import load_noises

logger = logging.getLogger(__name__)

MIN_JUDGED_FRAMES = 25  # each half of a validation clip has at least so many at 25 Hz
Predictor = Callable[[SpokenClip, Style, Tensor], np.ndarray]


def train_geometry(
    corpus: Path,
    clips: list[Clip],
    folder: Path,
    *,
    face_model: FaceModel,
    config: GeometryTrainingConfig,
    model_config: GeometryModelConfig,
    start_from: Path | None = None,
    sync_network: SyncNetwork | None = None,
) -> GeometryModel:
    """Train, or go on training, stage 1; returns the averaged model with the best validation.

    Args:
        corpus: folder that `preprocess` and `cache_speech` filled.
        clips: of the manifest; splits decide.
        folder: of the run; an existing state is continued.
        face_model: of the corpus' coefficients.
        config: of the run.
        model_config: of the model.
        start_from: weights to begin with; without them, random ones and the corpus' statistics.
        sync_network: for the loss "sync", where the configuration weighs it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spoken = load_spoken_clips(clips, corpus, face_model, min_fit=config.min_fit, measured=config.measured_offsets)
    training = [clip for clip in spoken if clip.clip.split == "train"]
    held_out = [clip for clip in spoken if clip.clip.split == "val"]
    logger.info("%d clips to train on, %d to validate on", len(training), len(held_out))
    noises = load_noises(corpus)
    torch.manual_seed(config.seed)
    model = GeometryModel(model_config)
    if start_from:
        load_into(model, start_from)
    else:
        set_statistics(model, training, face_model)
    state = TrainState(
        model=model,
        optimizer=torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        ),
    )
    if (folder / STATE_NAME).exists():
        state.load(folder / STATE_NAME)
    train(
        state,
        config,
        losses_of=GeometryLosses(face_model, sync_network),
        batch_at=GeometryDataset(training, noises, face_model, config).batch_at,
        validate=lambda averaged: validate_geometry(predictor_of(averaged), held_out, face_model),
        watch="loss",
        folder=folder,
    )
    best = torch.load(folder / BEST_NAME, map_location="cpu", weights_only=True)
    state.ema.load_state_dict(best)
    fit_readouts(state.ema, training, face_model, noises)
    return state.ema


class GeometryLosses:
    """Runs the model on a batch and compares the result with the truth.

    Args:
        face_model: of the coefficients.
        sync_network: says whether the result belongs to the sound; without it nobody does.
    """

    def __init__(self, face_model: FaceModel, sync_network: SyncNetwork | None = None) -> None:
        self.metric = SpeechMetric.of(face_model)
        self.sync_network = sync_network.eval().requires_grad_(False) if sync_network else None

    def __call__(self, model: nn.Module, batch: GeometryBatch) -> dict[str, Tensor]:
        """Return named losses, each []."""
        predicted = model(batch.speech, batch.has_audio, batch.style)
        losses = geometry_losses(predicted, batch.expression, batch.valid, batch.template, self.metric)
        if self.sync_network and batch.sync_audio is not None:
            lips = self.metric.lip_features(predicted, batch.template, batch.valid)
            losses["sync"] = sync_loss(self.sync_network, lips, batch.valid, batch.sync_audio, batch.sync_has_audio)
        return losses


@torch.no_grad()
def set_statistics(model: GeometryModel, clips: list[SpokenClip], face_model: FaceModel) -> None:
    """Fill the model's buffers: how features, coefficients and styles are distributed in the training clips."""
    sample = torch.cat([clip.speech["clean"].values[::5].float() for clip in clips])
    model.audio_mean.copy_(sample.mean(0))
    model.audio_deviation.copy_(sample.std(0) + 1e-4)
    spoken = [clip for clip in clips if clip.valid.sum() >= MIN_JUDGED_FRAMES]
    moved = np.concatenate([clip.expression[clip.valid] - clip.expression[clip.valid].mean(0) for clip in spoken])
    model.expression_deviation.copy_(torch.from_numpy(moved.std(0)) + 1e-4)
    styles = Style.stack([style_of(clip.expression, clip.valid, clip.template, face_model) for clip in spoken])
    persons = np.unique([clip.clip.person for clip in spoken], return_inverse=True)[1]
    counts = np.bincount(persons)
    weight = torch.from_numpy(1 / (counts[persons] * len(counts))).float()  # every person counts once
    for field in fields(Style):
        values = getattr(styles, field.name)
        mean = torch.tensordot(weight, values, 1)
        spread = torch.tensordot(weight, (values - mean).square(), 1).sqrt() + 1e-4
        getattr(model, f"average_{field.name}").copy_(mean)
        getattr(model, f"spread_{field.name}").copy_(spread)


def predictor_of(model: GeometryModel) -> Predictor:
    """Wrap a model for validation."""

    def predict(clip: SpokenClip, style: Style, times: Tensor) -> np.ndarray:
        return predict_expression(model, clip.speech["clean"], times, style).numpy()

    return predict


def validate_geometry(predict: Predictor, clips: list[SpokenClip], face_model: FaceModel) -> dict[str, float]:
    """Score the second half of each clip, with style from the first.

    Returns:
        `r` correlation of openness and `ratio` of its deviation to the true one; `lip` and `velocity` errors of the lip
        vertices in % of the inter-ocular distance; means over clips. `loss` is what training watches: the lip error in
        units of 3 %, less the correlation, plus how far the ratio lies outside .85 to 1.15.
    """
    rows = []
    for clip in clips:
        half = len(clip) // 2
        judged = np.flatnonzero(clip.valid[half:]) + half
        first = clip.valid[:half]
        if first.sum() < MIN_JUDGED_FRAMES or len(judged) < MIN_JUDGED_FRAMES:
            continue
        style = style_of(clip.expression[:half], first, clip.template, face_model)
        predicted = predict(clip, style, torch.from_numpy(clip.times[judged]))
        output = face_model.vertices(clip.template, predicted)
        truth = face_model.vertices(clip.template, clip.expression[judged])
        opened, should_open = lip_aperture(output), lip_aperture(truth)
        r = correlation(opened, should_open)
        rows.append(
            {
                "r": 0.0 if np.isnan(r) else r,
                "ratio": deviation_ratio(opened, should_open),
                "lip": 100 * lip_vertex_error(output, truth),
                "velocity": 100 * lip_velocity_error(output, truth),
            }
        )
    figures = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    outside = max(0.0, 0.85 - figures["ratio"], figures["ratio"] - 1.15)
    return {"loss": figures["lip"] / 3 - figures["r"] + outside, **figures, "clips": float(len(rows))}
