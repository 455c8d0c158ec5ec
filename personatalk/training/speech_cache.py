"""Cached speech features of the training clips, as recorded and augmented, and of noises without speech."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personatalk.checkpoints import load_config, to_dict
from personatalk.errors import CheckpointError, MediaError
from personatalk.media import read_audio
from personatalk.speech.augmentation import change_speed, degrade, shift_pitch
from personatalk.speech.config import SpeechEncoderConfig
from personatalk.speech.encoders import SpeechEncoder
from personatalk.speech.features import SAMPLE_RATE, SpeechFeatures
from personatalk.speech.noises import NOISES, make_noise
from personatalk.training.corpus import Clip, cache_path

CLEAN = "clean"
VARIANTS = (CLEAN, "noisy", "pitched", "stretched")
SAME_TIMING = (CLEAN, "noisy", "pitched")
SEMITONES, SPEEDS = (-4.0, 4.0), (0.8, 1.25)
NOISE_PREFIX, NUM_NOISES, NOISE_S = "_noise_", 84, 4.0
NOISE_LEVELS = (-1.5, 0.0)  # decimal logarithm of the gain
ENCODER_NAME = "speech_encoder.json"


@dataclass(frozen=True, kw_only=True)
class SpeechVariant(SpeechFeatures):
    """Features of a clip's speech, as recorded or augmented.

    Attributes:
        time_scale: what is at time t of the clip's audio is at time_scale * t of these features.
    """

    time_scale: float = 1.0


def write_speech(
    path: Path, waveform: np.ndarray, encoder: SpeechEncoder, *, seed: int, variants: Iterable[str] = VARIANTS
) -> None:
    """Encode a clip's speech in several variants.

    Args:
        path: .npz to write; for each variant <variant>_values [N, C] float16, _level_db [N] and _time_scale.
        waveform: [S] mono at 16 kHz.
        seed: of the augmentation.
        variants: some of VARIANTS.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for variant in variants:
        audio, time_scale = _augment(waveform, variant, rng)
        features = encoder.encode(audio)
        arrays[f"{variant}_values"] = features.values.cpu().numpy().astype(np.float16)
        arrays[f"{variant}_level_db"] = features.level_db.cpu().numpy()
        arrays[f"{variant}_time_scale"] = np.array(time_scale)
    np.savez(path, **arrays)


def _augment(waveform: np.ndarray, variant: str, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Make a variant of a waveform: the audio, and its time scale."""
    if variant == "noisy":
        return degrade(waveform, rng), 1.0
    if variant == "pitched":
        return shift_pitch(waveform, rng.uniform(*SEMITONES)), 1.0
    if variant == "stretched":
        speed = float(np.exp(rng.uniform(*np.log(SPEEDS))))
        return change_speed(waveform, speed), 1 / speed
    return waveform, 1.0


def read_speech(path: Path, variants: Iterable[str] = VARIANTS) -> dict[str, SpeechVariant]:
    """Read what `write_speech` wrote; values stay float16 to save memory.

    Args:
        variants: which to read; those that the file does not have are left out.
    """
    with np.load(path) as saved:
        return {
            variant: SpeechVariant(
                values=torch.from_numpy(saved[f"{variant}_values"]),
                level_db=torch.from_numpy(saved[f"{variant}_level_db"]),
                time_scale=float(saved.get(f"{variant}_time_scale", 1.0)),
            )
            for variant in variants
            if f"{variant}_values" in saved
        }


def check_cache(corpus: Path, encoder: SpeechEncoderConfig) -> None:
    """Refuse a corpus whose cached features are those of another speech encoder.

    Raises:
        CheckpointError: they are.
    """
    folder = corpus / "audio"
    if not folder.is_dir():
        return
    path = folder / ENCODER_NAME
    cached = load_config(SpeechEncoderConfig, path) if path.is_file() else SpeechEncoderConfig()
    if cached.name != encoder.name:
        raise CheckpointError(
            f"{folder} holds features of the speech encoder {cached.name}, not of {encoder.name}; "
            "remove that folder, so that the speech is encoded again, or use another corpus"
        )


def cache_speech(clips: list[Clip], data: Path, corpus: Path, encoder: SpeechEncoder) -> int:
    """Encode the speech of all clips that have sound, and some noises; existing files are kept.

    Args:
        data: folder of the videos.
        corpus: folder for the caches; fills corpus/audio.

    Returns:
        how many clips have features now.

    Raises:
        CheckpointError: the corpus holds features of another encoder.
    """
    check_cache(corpus, encoder.config)
    folder = corpus / "audio"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ENCODER_NAME).write_text(json.dumps(to_dict(encoder.config)) + "\n")
    count = 0
    for clip in clips:
        path = cache_path(corpus, "audio", clip)
        if clip.has_sound and not path.exists():
            try:
                write_speech(path, read_audio(data / clip.file), encoder, seed=zlib.crc32(clip.name.encode()))
            except MediaError:
                continue
        count += path.exists()
    _cache_noises(folder, encoder)
    return count


def _cache_noises(folder: Path, encoder: SpeechEncoder) -> None:
    rng = np.random.default_rng(0)
    for index in range(NUM_NOISES):
        noise = make_noise(NOISES[index % len(NOISES)], int(NOISE_S * SAMPLE_RATE), rng)
        noise = noise * 10 ** rng.uniform(*NOISE_LEVELS)
        path = folder / f"{NOISE_PREFIX}{index:02d}.npz"
        if not path.exists():
            write_speech(path, noise.astype(np.float32), encoder, seed=index, variants=(CLEAN, "noisy"))


def load_noises(corpus: Path) -> list[SpeechVariant]:
    """Load the cached features of sounds without speech."""
    return [
        features
        for path in sorted((corpus / "audio").glob(f"{NOISE_PREFIX}*.npz"))
        for features in read_speech(path).values()
    ]
