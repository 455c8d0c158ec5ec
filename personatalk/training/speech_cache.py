"""Sound of the training clips to cached speech features: as it is, spoilt, and noises in which nobody speaks."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

from personatalk.errors import MediaError
from personatalk.media import read_audio
from personatalk.speech.encoders import SpeechEncoder
from personatalk.speech.features import SAMPLE_RATE, SpeechFeatures
from personatalk.speech.noises import NOISES, make_noise
from personatalk.training.corpus import Clip, cache_path

VARIANTS = ("clean", "noisy")
NOISE_PREFIX, NUM_NOISES, NOISE_S = "_noise_", 84, 4.0


def write_speech(path: Path, waveform: np.ndarray, encoder: SpeechEncoder, *, seed: int) -> None:
    """Encode a clip's sound as it is and once more spoilt, and keep both.

    Args:
        path: .npz to write: <variant>_values [N, C] float16 and <variant>_level_db [N].
        waveform: [S] mono at 16 kHz.
        seed: of the spoiling.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for variant in VARIANTS:
        sound = waveform if variant == "clean" else augment(waveform, rng)
        features = encoder.encode(sound)
        arrays[f"{variant}_values"] = features.values.numpy().astype(np.float16)
        arrays[f"{variant}_level_db"] = features.level_db.numpy()
    np.savez(path, **arrays)


def read_speech(path: Path) -> dict[str, SpeechFeatures]:
    """Read what write_speech wrote, by variant; values stay float16 to save memory."""
    with np.load(path) as saved:
        return {
            variant: SpeechFeatures(
                values=torch.from_numpy(saved[f"{variant}_values"]),
                level_db=torch.from_numpy(saved[f"{variant}_level_db"]),
            )
            for variant in VARIANTS
        }


def augment(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise 5 to 25 dB below the voice, tilt the spectrum, and change the gain.

    Args:
        waveform: [S] mono at 16 kHz.

    Returns:
        [S]
    """
    sound = waveform.astype(np.float64)
    power = np.square(sound).mean() + 1e-10
    noise = make_noise(str(rng.choice(NOISES[1:])), len(sound), rng)
    noise *= np.sqrt(power / (np.square(noise).mean() + 1e-10)) * 10 ** (-rng.uniform(5, 25) / 20)
    tilt = rng.uniform(-0.5, 0.5)
    sound = sound + noise
    sound[1:] -= tilt * sound[:-1].copy()
    return (sound * 10 ** (rng.uniform(-12, 6) / 20)).clip(-1, 1).astype(np.float32)


def cache_speech(clips: list[Clip], data: Path, corpus: Path, encoder: SpeechEncoder) -> int:
    """Encode the sound of all clips that have some, and some noises; what is done already is kept.

    Args:
        data: folder of the videos.
        corpus: folder for the caches; fills corpus/audio.

    Returns:
        how many clips have features now.
    """
    folder = corpus / "audio"
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for clip in clips:
        path = cache_path(corpus, "audio", clip)
        if clip.has_sound and not path.exists():
            try:
                write_speech(path, read_audio(data / clip.file), encoder, seed=zlib.crc32(clip.name.encode()))
            except MediaError:
                continue
        count += path.exists()
    rng = np.random.default_rng(0)
    for index in range(NUM_NOISES):
        noise = make_noise(NOISES[index % len(NOISES)], int(NOISE_S * SAMPLE_RATE), rng) * 10 ** rng.uniform(-1.5, 0)
        path = folder / f"{NOISE_PREFIX}{index:02d}.npz"
        if not path.exists():
            write_speech(path, noise.astype(np.float32), encoder, seed=index)
    return count


def load_noises(corpus: Path) -> list[SpeechFeatures]:
    """Load the cached sounds in which nobody speaks."""
    return [
        features
        for path in sorted((corpus / "audio").glob(f"{NOISE_PREFIX}*.npz"))
        for features in read_speech(path).values()
    ]
