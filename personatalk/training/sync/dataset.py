"""Cached clips to batches for the sync networks: excerpts of lips, and the audio around them."""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personatalk.errors import MediaError, PersonaTalkError
from personatalk.geometry.face_model import FaceModel
from personatalk.media import read_audio
from personatalk.speech.features import FEATURE_RATE, SpeechFeatures, mel_spectrogram_features, sample_rows
from personatalk.speech.sync_network import LIP_RATE, MAX_SHIFT, NUM_SHIFTS, lip_features
from personatalk.training.config import SyncTrainingConfig
from personatalk.training.corpus import Clip, cache_path, read_geometry
from personatalk.training.speech_cache import CLEAN, SAME_TIMING, read_speech

MIN_FRAMES = 20  # valid ones, of a clip
AUDIO_CACHES = {"speech": "audio", "mel": "mel"}  # where the corpus keeps the features of each kind
MEL_TILT, MEL_NOISE, MEL_BANDS_HIDDEN = 0.25, 0.05, 12


@dataclass(frozen=True, kw_only=True)
class SyncClip:
    """One clip in memory: lips and audio.

    Attributes:
        clip: its line of the manifest.
        sounds: audio features: clean and, of the speech encoder, augmented.
        lips: [T, L] of `lip_features`.
        valid: [T] bool.
        times: [T] s of the picture; no offset is taken off.
    """

    clip: Clip
    sounds: list[SpeechFeatures]
    lips: np.ndarray
    valid: np.ndarray
    times: np.ndarray


def fold_of(person: str) -> int:
    """Which third of the training persons a person is in: 0 is the judge's; 1 and 2 measure each other."""
    number = zlib.crc32(person.encode())
    return 0 if number % 4 == 0 else 1 + number // 4 % 2


def cache_mel(clips: list[Clip], data: Path, corpus: Path) -> int:
    """Keep the log-mel spectrograms of all clips with sound under corpus/mel; returns how many there are."""
    folder = corpus / "mel"
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for clip in clips:
        path = cache_path(corpus, "mel", clip)
        if clip.has_sound and not path.exists():
            try:
                features = mel_spectrogram_features(read_audio(data / clip.file))
            except MediaError:
                continue
            np.savez(path, values=features.values.numpy().astype(np.float16), level_db=features.level_db.numpy())
        count += path.exists()
    return count


def load_sync_clips(clips: list[Clip], corpus: Path, face_model: FaceModel, audio: str) -> list[SyncClip]:
    """Load all clips with cached geometry and audio features, whatever their fit.

    Args:
        audio: "speech" or "mel", see `SyncConfig.audio`.
    """
    loaded = []
    for clip in clips:
        geometry, sound_path = read_geometry(corpus, clip), cache_path(corpus, AUDIO_CACHES[audio], clip)
        if geometry is None or geometry.valid.sum() < MIN_FRAMES or not sound_path.exists():
            continue
        grid = np.arange(geometry.times[0], geometry.times[-1] + 1e-6, 1 / LIP_RATE)
        rows = np.interp(grid, geometry.times, np.arange(len(geometry)))
        lips = lip_features(geometry.expression, geometry.valid, geometry.template, face_model)
        speech = read_speech(sound_path, SAME_TIMING) if audio == "speech" else {CLEAN: _read_mel(sound_path)}
        loaded.append(
            SyncClip(
                clip=clip,
                sounds=list(speech.values()),
                lips=sample_rows(torch.from_numpy(lips), torch.from_numpy(rows)).numpy(),
                valid=geometry.valid[np.floor(rows).astype(int)] & geometry.valid[np.ceil(rows).astype(int)],
                times=grid,
            )
        )
    return loaded


def _read_mel(path: Path) -> SpeechFeatures:
    with np.load(path) as saved:
        return SpeechFeatures(values=torch.from_numpy(saved["values"]), level_db=torch.from_numpy(saved["level_db"]))


@dataclass(frozen=True, kw_only=True)
class SyncBatch:
    """Mouths, and the sounds from 15 frames before to 15 after them; see `SyncNetwork.embed`."""

    lips: Tensor
    valid: Tensor
    audio: Tensor
    has_audio: Tensor


class SyncDataset:
    """Excerpts whose audio is in sync at the middle shift; a step's batch is always the same.

    Persons are drawn by the square root of their minutes, and no person twice in a batch where there are enough,
    so that the other audio of a batch is other persons'.

    Args:
        clips: in sync at their offsets.
        config: excerpt length, batch size, seed.
        is_mel: the audio features are a spectrogram, which is augmented here.

    Raises:
        PersonaTalkError: there are no clips.
    """

    def __init__(self, clips: list[SyncClip], config: SyncTrainingConfig, *, is_mel: bool) -> None:
        if not clips:
            raise PersonaTalkError(
                "no clips to learn synchrony from: run preprocess first, and check the manifest's fit column"
            )
        self.config, self.is_mel = config, is_mel
        self.persons: dict[str, list[SyncClip]] = defaultdict(list)
        for clip in clips:
            self.persons[clip.clip.person].append(clip)
        self.names = sorted(self.persons)
        lengths = np.array([sum(len(clip.times) for clip in self.persons[name]) for name in self.names], float)
        self.person_share = np.sqrt(lengths) / np.sqrt(lengths).sum()

    def batch_at(self, step: int) -> SyncBatch:
        """Draw the batch of a step."""
        rng = np.random.default_rng((self.config.seed, step))
        count = self.config.batch_size
        names = rng.choice(len(self.names), count, p=self.person_share, replace=count > len(self.names))
        examples = [self._example(self.persons[self.names[index]], rng) for index in names]
        return SyncBatch(**{key: torch.stack([example[key] for example in examples]) for key in examples[0]})

    def _example(self, clips: list[SyncClip], rng: np.random.Generator) -> dict[str, Tensor]:
        lengths = np.array([len(clip.times) for clip in clips], float)
        clip = clips[rng.choice(len(clips), p=lengths / lengths.sum())]
        count = self.config.num_frames
        start = int(rng.integers(0, max(1, len(clip.times) - count + 1)))
        frames = np.arange(start, start + count)
        inside = frames < len(clip.times)
        frames = frames.clip(max=len(clip.times) - 1)
        sound = clip.sounds[rng.integers(len(clip.sounds))]
        begin = clip.times[start] - clip.clip.offset_s - MAX_SHIFT / LIP_RATE + rng.uniform(-0.01, 0.01)
        moments = begin + np.arange(2 * count + NUM_SHIFTS - 1) / FEATURE_RATE
        values = sample_rows(sound.values, torch.from_numpy(moments * sound.rate)).float()
        return {
            "lips": torch.from_numpy(clip.lips[frames]),
            "valid": torch.from_numpy(clip.valid[frames] & inside),
            "audio": augment_mel(values, rng) if self.is_mel else values,
            "has_audio": torch.from_numpy((moments >= 0) & (moments < sound.duration)),
        }


def augment_mel(values: Tensor, rng: np.random.Generator) -> Tensor:
    """Tilt a log-mel spectrogram [N, 160], change its loudness, mask some bands, add noise."""
    bands = values.unflatten(1, (2, -1)).clone()
    height = torch.linspace(-1, 1, bands.shape[-1])
    bands = bands + float(rng.uniform(-1, 1)) * MEL_TILT * height + float(rng.normal(0, MEL_TILT / 2))
    first = int(rng.integers(0, bands.shape[-1]))
    bands[..., first : first + int(rng.integers(0, MEL_BANDS_HIDDEN))] = float(bands.mean())
    noise = np.random.default_rng(rng.integers(2**32)).standard_normal(bands.shape, dtype=np.float32)
    return (bands + MEL_NOISE * torch.from_numpy(noise)).flatten(1)
