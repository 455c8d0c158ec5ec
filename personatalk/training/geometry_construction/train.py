"""Stage 1's training: statistics of the corpus, the run, and validation on held-out persons."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personatalk.checkpoints import load_into
from personatalk.errors import PersonaTalkError
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
from personatalk.training.loop import BEST_NAME, STATE_NAME, TrainState, on_cpu, train
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
    device: torch.device | str = "cpu",
) -> GeometryModel:
    """Train, or go on training, stage 1.

    Args:
        corpus: folder that `preprocess` and `cache_speech` filled.
        clips: of the manifest; splits decide.
        folder: of the run; an existing state is continued.
        face_model: of the corpus' coefficients.
        config: of the run.
        model_config: of the model.
        start_from: weights to begin with; without them, random ones and the corpus' statistics.
        sync_network: for the loss "sync", where the configuration weighs it.
        device: where the network is trained. It is validated on the CPU, as a dub runs it.

    Returns:
        on the CPU, the averaged model with the best validation, with its readouts fitted.

    Raises:
        PersonaTalkError: the corpus holds no clips to train on, or none to validate on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spoken = load_spoken_clips(clips, corpus, face_model, min_fit=config.min_fit, measured=config.measured_offsets)
    training = [clip for clip in spoken if clip.clip.split == "train"]
    held_out = judged_clips([clip for clip in spoken if clip.clip.split == "val"])
    logger.info("%d clips to train on, %d to validate on", len(training), len(held_out))
    noises = load_noises(corpus)
    dataset = GeometryDataset(training, noises, face_model, config)
    state = begin(folder, config, model_config, training, face_model=face_model, start_from=start_from, device=device)
    train(
        state,
        config,
        losses_of=GeometryLosses(face_model, sync_network, device),
        batch_at=dataset.batch_at,
        validate=lambda averaged: validate_geometry(predictor_of(averaged), held_out, face_model),
        watch="loss",
        folder=folder,
    )
    model = on_cpu(state.ema)
    model.load_state_dict(torch.load(folder / BEST_NAME, map_location="cpu", weights_only=True))
    fit_readouts(model, training, face_model, noises)
    return model


def begin(
    folder: Path,
    config: GeometryTrainingConfig,
    model_config: GeometryModelConfig,
    clips: list[SpokenClip],
    *,
    face_model: FaceModel,
    start_from: Path | None = None,
    device: torch.device | str = "cpu",
) -> TrainState[GeometryModel]:
    """Build what a run trains: from its saved state, from given weights, or anew with the statistics of the clips."""
    torch.manual_seed(config.seed)
    model = GeometryModel(model_config)
    if start_from:
        load_into(model, start_from)
    else:
        set_statistics(model, clips, face_model)
    model = model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    state = TrainState(model=model, optimizer=optimizer)
    if (folder / STATE_NAME).exists():
        state.load(folder / STATE_NAME)
    return state


class GeometryLosses:
    """Runs the model on a batch and compares the result with the truth.

    Args:
        face_model: of the coefficients.
        sync_network: judges whether the result is in sync with the audio; without it there is no loss "sync".
        device: of the model and of the batches.
    """

    def __init__(
        self,
        face_model: FaceModel,
        sync_network: SyncNetwork | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.metric = SpeechMetric.of(face_model).to(device)
        self.sync_network = sync_network.to(device).eval().requires_grad_(False) if sync_network else None

    def __call__(self, model: GeometryModel, batch: GeometryBatch) -> dict[str, Tensor]:
        """Return named losses, each []."""
        predicted = model(batch.speech, batch.has_audio, batch.style)
        losses = geometry_losses(predicted, batch.expression, batch.valid, batch.template, self.metric)
        if self.sync_network and batch.sync_audio is not None and batch.sync_has_audio is not None:
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
    """Wrap a model for validation, on the CPU."""
    model = on_cpu(model)

    def predict(clip: SpokenClip, style: Style, times: Tensor) -> np.ndarray:
        return predict_expression(model, clip.speech["clean"], times, style, matches_amplitude=False).numpy()

    return predict


def judged_clips(clips: list[SpokenClip]) -> list[SpokenClip]:
    """Choose the clips both of whose halves show the face for a second: style from the first, truth in the second.

    Raises:
        PersonaTalkError: there are none.
    """
    halves = [(clip.valid[: len(clip) // 2], clip.valid[len(clip) // 2 :]) for clip in clips]
    long = [clip for clip, parts in zip(clips, halves, strict=True) if min(p.sum() for p in parts) >= MIN_JUDGED_FRAMES]
    if not long:
        raise PersonaTalkError(
            "no clip to validate on: run preprocess first; the split val needs a clip of two seconds whose sound fits"
        )
    return long


def validate_geometry(predict: Predictor, clips: list[SpokenClip], face_model: FaceModel) -> dict[str, float]:
    """Score the second half of each clip, with style from the first.

    Args:
        clips: chosen by `judged_clips`.

    Returns:
        `r` correlation of the lip aperture and `ratio` of its deviation to the true one; `lip` and `velocity` errors
        of the lip vertices in % of the inter-ocular distance; every person counts once. `loss` is what training
        watches: the lip error in units of 3 %, less the correlation, plus how far the ratio lies outside .85 to 1.15.
    """
    rows = [validation_figures(predict, clip, face_model) for clip in clips]
    figures = mean_over_persons([clip.clip.person for clip in clips], rows)
    outside = max(0.0, 0.85 - figures["ratio"], figures["ratio"] - 1.15)
    loss = figures["lip"] / 3 - figures["r"] + outside
    return {"loss": loss, **figures, "clips": float(len(rows)), "persons": float(len({c.clip.person for c in clips}))}


def validation_figures(predict: Predictor, clip: SpokenClip, face_model: FaceModel) -> dict[str, float]:
    """Score the second half of a clip, with style from the first."""
    half = len(clip) // 2
    judged = np.flatnonzero(clip.valid[half:]) + half
    style = style_of(clip.expression[:half], clip.valid[:half], clip.template, face_model)
    predicted = predict(clip, style, torch.from_numpy(clip.times[judged]))
    output = face_model.vertices(clip.template, predicted)
    truth = face_model.vertices(clip.template, clip.expression[judged])
    aperture, true_aperture = lip_aperture(output), lip_aperture(truth)
    return {
        "r": float(np.nan_to_num(correlation(aperture, true_aperture))),
        "ratio": deviation_ratio(aperture, true_aperture),
        "lip": 100 * lip_vertex_error(output, truth),
        "velocity": 100 * lip_velocity_error(output, truth),
    }


def mean_over_persons(persons: list[str], rows: list[dict[str, float]]) -> dict[str, float]:
    """Average figures so that every person counts once, however many clips show them.

    Args:
        persons: of each row.
        rows: figures by name.
    """
    by_person: dict[str, list[dict[str, float]]] = defaultdict(list)
    for person, row in zip(persons, rows, strict=True):
        by_person[person].append(row)
    return {
        name: float(np.mean([np.mean([row[name] for row in some]) for some in by_person.values()])) for name in rows[0]
    }
