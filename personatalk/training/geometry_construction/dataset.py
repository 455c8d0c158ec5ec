"""Cached clips to batches: excerpts of speech and geometry for stage 1, balanced over persons."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personatalk.errors import PersonaTalkError
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry_construction.style import MIN_STYLE_FRAMES, Style, style_of
from personatalk.speech.features import FEATURE_RATE, SpeechFeatures, sample_rows
from personatalk.speech.sync_network import MAX_SHIFT, NUM_SHIFTS
from personatalk.training.config import GeometryTrainingConfig
from personatalk.training.corpus import Clip, cache_path, with_measured_offsets
from personatalk.training.speech_cache import CLEAN, SpeechVariant, read_speech

GRID_RATE = 25.0  # Hz, of the grid of time on which stage 1 works


@dataclass(frozen=True, kw_only=True)
class SpokenClip:
    """One clip in memory: geometry on the grid of time, and the sound that goes with it.

    Attributes:
        clip: its line of the manifest.
        speech: features by variant, see `speech_cache.VARIANTS`.
        expression: [T, K] speech coefficients at 25 Hz.
        valid: [T] bool.
        times: [T] s on the clock of the sound: the offset is taken off.
        template: [V, 3] IOD.
    """

    clip: Clip
    speech: dict[str, SpeechVariant]
    expression: np.ndarray
    valid: np.ndarray
    times: np.ndarray
    template: np.ndarray

    def __len__(self) -> int:
        return len(self.times)


def load_spoken_clips(
    clips: list[Clip], corpus: Path, face_model: FaceModel, *, min_fit: float, measured: bool = True
) -> list[SpokenClip]:
    """Load all clips whose sound is known to fit the face and whose caches exist.

    Args:
        clips: of the manifest.
        corpus: folder of the caches.
        face_model: of the coefficients.
        min_fit: clips whose sound fits less than this are left out.
        measured: offsets and fit are those that `train sync` measured, where it did, not the manifest's.
    """
    loaded = []
    for clip in with_measured_offsets(clips, corpus) if measured else clips:
        geometry_path, speech_path = (cache_path(corpus, kind, clip) for kind in ("geometry", "audio"))
        if clip.fit is None or clip.fit < min_fit or not geometry_path.exists() or not speech_path.exists():
            continue
        geometry = FaceGeometry.load(geometry_path)
        rows = _rows_at_grid_rate(geometry.times)
        loaded.append(
            SpokenClip(
                clip=clip,
                speech=read_speech(speech_path),
                expression=geometry.expression[rows, : face_model.num_speech].astype(np.float32),
                valid=geometry.valid[rows],
                times=geometry.times[rows] - clip.offset_s,
                template=geometry.template,
            )
        )
    return loaded


def _rows_at_grid_rate(times: np.ndarray) -> np.ndarray:
    """Choose the frames nearest to a regular 25 Hz, for clips of any rate."""
    grid = np.arange(times[0], times[-1] + 0.5 / GRID_RATE, 1 / GRID_RATE)
    after = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
    return np.where(grid - times[after - 1] < times[after] - grid, after - 1, after)


@dataclass(frozen=True, kw_only=True)
class GeometryBatch:
    """Excerpts for a training step.

    Attributes:
        speech: [B, T, C] features.
        has_audio: [B, T] bool.
        style: of B speakers, from other frames than the target's wherever the clip is long enough.
        expression: [B, T, K] the truth.
        valid: [B, T] bool, where the truth is to be trusted and there is audio.
        template: [B, V, 3] IOD.
        sync_audio: [B, 2 * T + NUM_SHIFTS - 1, C] features at 50 Hz from 15 frames before to 15 after, for the sync
            network; None without the loss "sync".
        sync_has_audio: [B, 2 * T + NUM_SHIFTS - 1] bool; false in noise, with which no mouth is in sync.
    """

    speech: Tensor
    has_audio: Tensor
    style: Style
    expression: Tensor
    valid: Tensor
    template: Tensor
    sync_audio: Tensor | None = None
    sync_has_audio: Tensor | None = None


class GeometryDataset:
    """Excerpts of speech and geometry; the batch of a step is always the same.

    Persons are drawn with a probability that grows with the square root of their minutes, so that nobody dominates,
    and their clips by length. A part of the excerpts has noise for audio and the mouth at rest for truth.

    Args:
        clips: in memory.
        noises: features of audio in which nobody speaks.
        face_model: of the coefficients.
        config: excerpt length, shares, seed.

    Raises:
        PersonaTalkError: there are no clips.
    """

    def __init__(
        self,
        clips: list[SpokenClip],
        noises: Sequence[SpeechFeatures],
        face_model: FaceModel,
        config: GeometryTrainingConfig,
    ) -> None:
        if not clips:
            raise PersonaTalkError("no clips to train on: run preprocess first, and check the manifest's fit column")
        self.config, self.face_model, self.noises = config, face_model, noises
        self.persons: dict[str, list[SpokenClip]] = defaultdict(list)
        for clip in clips:
            self.persons[clip.clip.person].append(clip)
        self.names = sorted(self.persons)
        lengths = np.array([sum(map(len, self.persons[name])) for name in self.names], float)
        self.person_share = np.sqrt(lengths) / np.sqrt(lengths).sum()

    def batch_at(self, step: int) -> GeometryBatch:
        """Draw the batch of a step."""
        rng = np.random.default_rng((self.config.seed, step))
        names = rng.choice(len(self.names), self.config.batch_size, p=self.person_share)
        examples = [self._example(self.persons[self.names[index]], rng) for index in names]
        stacked = {key: torch.stack([example[key] for example in examples]) for key in examples[0] if key != "style"}
        return GeometryBatch(style=Style.stack([example["style"] for example in examples]), **stacked)

    def _example(self, clips: list[SpokenClip], rng: np.random.Generator) -> dict[str, Any]:
        lengths = np.array([len(clip) for clip in clips], float)
        clip = clips[rng.choice(len(clips), p=lengths / lengths.sum())]
        features, num_frames = self._draw_variant(clip, rng), self.config.num_frames
        scale = features.time_scale
        span = math.ceil(num_frames / scale)  # frames of the clip that the excerpt covers
        start = int(rng.integers(0, max(1, len(clip) - span + 1)))
        rows = start + np.arange(num_frames) / scale
        inside = rows <= len(clip) - 1
        style = self._style(clip, (start, start + span), clips, rng)
        times = scale * clip.times[start] + np.arange(num_frames) / GRID_RATE
        is_noise = bool(self.noises) and rng.random() < self.config.noise_share
        if is_noise:
            features = self.noises[int(rng.integers(len(self.noises)))]
            times = times - times[0] + rng.uniform(0, features.duration - num_frames / GRID_RATE)
            expression = style.rest.expand(num_frames, -1)
            valid = inside
        else:
            times = times + rng.uniform(-1, 1) * self.config.jitter_s
            expression = sample_rows(torch.from_numpy(clip.expression), torch.from_numpy(rows))
            last = len(clip) - 1
            before, after = (np.clip(f(rows).astype(int), 0, last) for f in (np.floor, np.ceil))
            valid = clip.valid[before] & clip.valid[after] & inside
        has_audio = (times >= 0) & (times < features.duration) & inside
        around = self._around(features, times, is_noise) if "sync" in self.config.loss_weights else {}
        return {
            **around,
            "speech": sample_rows(features.values, torch.from_numpy(times) * features.rate).float(),
            "has_audio": torch.from_numpy(has_audio),
            "style": style,
            "expression": expression,
            "valid": torch.from_numpy(valid & has_audio),
            "template": torch.from_numpy(clip.template),
        }

    def _draw_variant(self, clip: SpokenClip, rng: np.random.Generator) -> SpeechVariant:
        """Draw the speech as recorded, or one of its augmented variants."""
        augmented = [variant for variant in clip.speech if variant != CLEAN]
        if augmented and rng.random() < self.config.augmented_share:
            return clip.speech[augmented[rng.integers(len(augmented))]]
        return clip.speech[CLEAN]

    def _around(self, features: SpeechFeatures, times: np.ndarray, is_noise: bool) -> dict[str, Tensor]:
        moments = times[0] - MAX_SHIFT / GRID_RATE + np.arange(2 * len(times) + NUM_SHIFTS - 1) / FEATURE_RATE
        has_audio = (moments >= 0) & (moments < features.duration) & (not is_noise)
        values = sample_rows(features.values, torch.from_numpy(moments * features.rate)).float()
        return {"sync_audio": values, "sync_has_audio": torch.from_numpy(has_audio)}

    def _style(
        self, clip: SpokenClip, target: tuple[int, int], others: list[SpokenClip], rng: np.random.Generator
    ) -> Style:
        """Take a style from a run of frames, of random length, outside the target.

        It comes from the longer of the two parts beside the target or, where that is short, from any of the clips.
        """
        start, stop = target
        first, last = (0, start) if start > len(clip) - stop else (stop, len(clip))
        if last - first < self.config.min_style_frames:
            clip = others[rng.integers(len(others))]
            first, last = 0, len(clip)
        length = int(rng.integers(min(self.config.min_style_frames, last - first), last - first + 1))
        first = int(rng.integers(first, last - length + 1))
        chosen = slice(first, first + length)
        if clip.valid[chosen].sum() < MIN_STYLE_FRAMES:
            chosen = slice(None)
        return style_of(clip.expression[chosen], clip.valid[chosen], clip.template, self.face_model)
