"""Cached clips to batches: excerpts of speech and geometry for stage 1, balanced over persons and sources."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from personatalk.audio import SAMPLE_RATE, SpeechEncoder, SpeechFeatures

VARIANTS = ("clean", "noisy")
NOISES = ("silence", "white", "pink", "brown", "hum", "chord")


@dataclass(frozen=True, kw_only=True)
class ClipEntry:
    """One line of a corpus manifest.

    Attributes:
        name: file name without its ending.
        split: train or val.
        person: who speaks.
        source: where the clip is from.
        has_sound: whether there is sound that belongs to the face.
        offset: frames at 25 Hz by which the picture comes after the sound.
        fit: correlation of mouth and sound at that offset, or None where not measured.
        language: as far as known.
    """

    name: str
    split: str
    person: str
    source: str
    has_sound: bool
    offset: float
    fit: float | None
    language: str


def read_manifest(path: Path) -> list[ClipEntry]:
    """Read a tab-separated manifest; its columns are described in the README.

    Raises:
        ValueError: a column is missing; the message names it.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    needed = ("file", "split", "person", "sound", "offset", "fit", "language", "source")
    if missing := [name for name in needed if rows and name not in rows[0]]:
        raise ValueError(f"{path}: no column {missing}")
    return [
        ClipEntry(
            name=Path(row["file"]).stem,
            split=row["split"],
            person=row["person"],
            source=row["source"],
            has_sound=row["sound"] == "1",
            offset=float(row["offset"] or 0),
            fit=float(row["fit"]) if row["fit"] else None,
            language=row["language"] or "unk",
        )
        for row in rows
    ]


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
        sound = waveform if variant == "clean" else spoil(waveform, rng)
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


def spoil(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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


def make_noise(kind: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Make sound in which nobody speaks.

    Args:
        kind: one of NOISES.
        num_samples: at 16 kHz.

    Returns:
        [num_samples] float64, root mean square about 0.1, or next to nothing for silence.
    """
    if kind == "silence":
        return rng.normal(0, 1e-5, num_samples)
    times = np.arange(num_samples) / SAMPLE_RATE
    if kind == "hum":
        return sum(0.1 / k * np.sin(2 * np.pi * 50 * k * times + rng.uniform(0, 6)) for k in (1, 2, 3, 5))
    if kind == "chord":
        root, beat = rng.uniform(110, 330), rng.uniform(1, 4)
        tones = sum(np.sin(2 * np.pi * root * ratio * times) for ratio in (1, 1.25, 1.5, 2, 3))
        return 0.05 * tones * (0.3 + np.exp(-3 * ((times * beat) % 1)))
    colour = {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind]
    spectrum = np.fft.rfft(rng.normal(0, 1, num_samples))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1 + num_samples * 50 / SAMPLE_RATE) ** colour
    sound = np.fft.irfft(spectrum, num_samples)
    return 0.1 * sound / (sound.std() + 1e-12)
