"""Stage 1's training: statistics of the corpus, the run, validation on unseen persons, and what ships."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from personatalk.audio import SAMPLE_RATE, SpeechEncoder, SpeechFeatures, features_at, load_speech_encoder
from personatalk.checkpoints import load_config, load_into, save_model
from personatalk.config import GeometryModelConfig, GeometryTrainingConfig, from_dict
from personatalk.evaluation.metrics import correlation, deviation_ratio, lip_velocity_error, lip_vertex_error
from personatalk.face_model import FaceModel, openness
from personatalk.geometry_model import GeometryModel, predict_expression
from personatalk.style import Style, lip_opening, style_of
from personatalk.sync import SyncNetwork
from personatalk.training.datasets import GRID_RATE, GeometryBatch, GeometryDataset, SpokenClip, load_spoken_clips
from personatalk.training.loop import BEST_NAME, STATE_NAME, TrainState, train
from personatalk.training.losses import SpeechMetric, geometry_losses, sync_loss
from personatalk.training.preprocess import Clip, read_manifest
from personatalk.training.readouts import fit_readouts
from personatalk.training.speech_cache import NOISES, cache_speech, load_noises, make_noise

logger = logging.getLogger(__name__)

MIN_JUDGED_FRAMES = 25  # each half of a validation clip has at least so many at 25 Hz
NEW_NOISE_SEED = 77
RIDGE_STRENGTH = 3.0  # per frame, on standardised features
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
        predicted = model(batch.speech, batch.heard, batch.style)
        losses = geometry_losses(predicted, batch.expression, batch.valid, batch.template, self.metric)
        if self.sync_network and batch.sound is not None:
            lips = self.metric.see_lips(predicted, batch.template, batch.valid)
            losses["sync"] = sync_loss(self.sync_network, lips, batch.valid, batch.sound, batch.sound_heard)
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


def mean_mouth(clip: SpokenClip, style: Style, times: Tensor) -> np.ndarray:
    """Predict that the mouth does not move: the baseline that knows the person and not the sound."""
    return style.mean.expand(len(times), -1).numpy()


def fit_linear_map(clips: list[SpokenClip]) -> Predictor:
    """Fit the baseline that listens frame by frame: a ridge regression from features to the person's deviation."""
    speech, moved = [], []
    for clip in clips:
        chosen = clip.valid & (clip.times >= 0) & (clip.times < clip.speech["clean"].duration)
        if chosen.sum() >= MIN_JUDGED_FRAMES:
            speech.append(_features(clip.speech["clean"], torch.from_numpy(clip.times[chosen])))
            moved.append(torch.from_numpy(clip.expression[chosen] - clip.expression[clip.valid].mean(0)))
    features, target = torch.cat(speech).double(), torch.cat(moved).double()
    mean, deviation = features.mean(0), features.std(0) + 1e-4
    features = (features - mean) / deviation
    normal = features.T @ features + RIDGE_STRENGTH * len(clips) * torch.eye(features.shape[1])
    solution = torch.linalg.solve(normal, features.T @ target)

    def predict(clip: SpokenClip, style: Style, times: Tensor) -> np.ndarray:
        heard = (_features(clip.speech["clean"], times).double() - mean) / deviation
        return (style.mean + (heard @ solution).float()).numpy()

    return predict


def _features(features: SpeechFeatures, times: Tensor) -> Tensor:
    return features_at(features, times).float()


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
        opened, should_open = openness(output), openness(truth)
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


def table_of(model: GeometryModel, clips: list[SpokenClip], face_model: FaceModel) -> dict[str, dict[str, float]]:
    """Score a model beside its two baselines, on the validation clips: what `validate_geometry` gives, by method."""
    training = [clip for clip in clips if clip.clip.split == "train"]
    held_out = [clip for clip in clips if clip.clip.split == "val"]
    methods = {
        "the person's mean mouth": mean_mouth,
        "linear map, frame by frame": fit_linear_map(training),
        "ours": predictor_of(model.eval()),
    }
    return {name: validate_geometry(predict, held_out, face_model) for name, predict in methods.items()}


def opening_in_noise(
    model: GeometryModel, clips: list[SpokenClip], face_model: FaceModel, encoder: SpeechEncoder
) -> dict[str, float]:
    """Measure how far mouths leave their rest while nobody speaks.

    Returns:
        for silence and each kind of noise the 95th percentile of |openness - rest|, % of the inter-ocular distance,
        over three seconds and all clips' styles; the noises are none of those trained on.
    """
    rng = np.random.default_rng(NEW_NOISE_SEED)
    times = torch.arange(int(3 * GRID_RATE), dtype=torch.float64) / GRID_RATE
    figures = {}
    for kind in NOISES:
        heard = encoder.encode(make_noise(kind, 3 * SAMPLE_RATE, rng).astype(np.float32))
        away = []
        for clip in clips:
            style = style_of(clip.expression, clip.valid, clip.template, face_model)
            expression = torch.cat([style.rest[None], predict_expression(model, heard, times, style)])
            opened = lip_opening(expression.numpy(), clip.template, face_model)
            away.append(np.abs(opened[1:] - opened[0]))
        figures[kind] = float(100 * np.quantile(np.concatenate(away), 0.95))
    return figures


def main(arguments: list[str] | None = None) -> None:
    """Cache the sound, train stage 1, print the table, and write the averaged weights."""
    parser = argparse.ArgumentParser(prog="python -m personatalk.training.train_geometry", description=main.__doc__)
    parser.add_argument("data", type=Path, help="folder of the videos")
    parser.add_argument("corpus", type=Path, help="folder that preprocess filled")
    parser.add_argument("run", type=Path, help="folder of the run; a run that is there is continued")
    parser.add_argument("--manifest", type=Path, required=True, help="table of the clips, with offset and fit")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="where the weights lie and go")
    parser.add_argument("--config", default="{}", help="JSON that overrides the training configuration")
    parser.add_argument("--start-from", type=Path, help="weights to begin with instead of random ones")
    parser.add_argument("--validate-only", action="store_true", help="only print the table for the shipped weights")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    face_model = FaceModel.load(options.checkpoints / "face_model.safetensors")
    clips = read_manifest(options.manifest)
    config = from_dict(GeometryTrainingConfig, json.loads(options.config))
    encoder = load_speech_encoder(options.checkpoints)
    if options.validate_only:
        model = GeometryModel(load_config(GeometryModelConfig, options.checkpoints / "geometry.json"))
        load_into(model, options.checkpoints / "geometry.safetensors")
    else:
        cache_speech(clips, options.data, options.corpus, encoder)
        model = train_geometry(
            options.corpus, clips, options.run,
            face_model=face_model, config=config, model_config=GeometryModelConfig(), start_from=options.start_from,
        )  # fmt: skip
        save_model(model, model.config, options.checkpoints, "geometry")
    spoken = load_spoken_clips(clips, options.corpus, face_model, min_fit=config.min_fit)
    table = table_of(model, spoken, face_model)
    held_out = [clip for clip in spoken if clip.clip.split == "val" and len(clip) >= 2 * MIN_JUDGED_FRAMES]
    table["% from rest in noise, 95 %"] = opening_in_noise(model, held_out, face_model, encoder)
    for name, figures in table.items():
        print(f"{name:28}", ", ".join(f"{key} {value:.3f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
