"""Cached clips to batches: excerpts of speech and geometry for stage 1, balanced over persons and sources."""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personatalk.audio import SAMPLE_RATE, SpeechEncoder, SpeechFeatures, sample_rows
from personatalk.config import GeometryTrainingConfig
from personatalk.errors import MediaError
from personatalk.face_model import FaceModel
from personatalk.fitting import FaceGeometry
from personatalk.media import read_audio
from personatalk.style import Style, style_of
from personatalk.training.preprocess import Clip

GRID_RATE = 25.0  # Hz, of the grid of time on which stage 1 works
VARIANTS = ("clean", "noisy")
NOISE_PREFIX, NUM_NOISES, NOISE_S = "_noise_", 48, 4.0
NOISES = ("silence", "white", "pink", "brown", "hum", "chord")


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
        path = folder / f"{clip.name}.npz"
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


@dataclass(frozen=True, kw_only=True)
class SpokenClip:
    """One clip in memory: geometry on the grid of time, and the sound that goes with it.

    Attributes:
        clip: its row of the manifest.
        speech: features by variant.
        expression: [T, K] speech coefficients at 25 Hz.
        valid: [T] bool.
        times: [T] s on the clock of the sound: the offset is taken off.
        template: [V, 3] IOD.
    """

    clip: Clip
    speech: dict[str, SpeechFeatures]
    expression: np.ndarray
    valid: np.ndarray
    times: np.ndarray
    template: np.ndarray

    def __len__(self) -> int:
        return len(self.times)


def load_spoken_clips(clips: list[Clip], corpus: Path, face_model: FaceModel, *, min_fit: float) -> list[SpokenClip]:
    """Load all clips whose sound is known to fit the face and whose caches exist.

    A clip's offset moves its frames against the sound: the mouth at frame t + offset fits the sound at frame t.
    """
    loaded = []
    for clip in clips:
        geometry_path, speech_path = (corpus / kind / f"{clip.name}.npz" for kind in ("geometry", "audio"))
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
                times=geometry.times[rows] - (clip.offset or 0) / GRID_RATE,
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
        heard: [B, T] bool, where there is sound.
        style: of B speakers, from other frames than the target's wherever the clip is long enough.
        expression: [B, T, K] the truth.
        valid: [B, T] bool, where the truth is to be trusted and sound was heard.
        template: [B, V, 3] IOD.
    """

    speech: Tensor
    heard: Tensor
    style: Style
    expression: Tensor
    valid: Tensor
    template: Tensor


class GeometryDataset:
    """Excerpts of speech and geometry; the batch of a step is always the same.

    Persons are drawn by the square root of their minutes, so that nobody fills the batches, and their clips
    by length. A part of the excerpts has noise for sound and the mouth at rest for truth.

    Args:
        clips: spoken clips in memory.
        noises: features of sounds in which nobody speaks.
        face_model: of the coefficients.
        config: excerpt length, shares, seed.

    Raises:
        ValueError: there are no clips.
    """

    def __init__(
        self,
        clips: list[SpokenClip],
        noises: list[SpeechFeatures],
        face_model: FaceModel,
        config: GeometryTrainingConfig,
    ) -> None:
        if not clips:
            raise ValueError("no clips to train on: run preprocess first, and check the manifest's fit column")
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

    def _example(self, clips: list[SpokenClip], rng: np.random.Generator) -> dict[str, Tensor | Style]:
        lengths = np.array([len(clip) for clip in clips], float)
        clip = clips[rng.choice(len(clips), p=lengths / lengths.sum())]
        start = int(rng.integers(0, max(1, len(clip) - self.config.num_frames + 1)))
        frames = np.arange(start, start + self.config.num_frames)
        inside = frames < len(clip)
        frames = frames.clip(max=len(clip) - 1)
        style = self._style(clip, start, rng)
        times = clip.times[start] + np.arange(len(frames)) / GRID_RATE
        if self.noises and rng.random() < self.config.noise_share:
            features = self.noises[rng.integers(len(self.noises))]
            times = times - times[0] + rng.uniform(0, features.duration - len(frames) / GRID_RATE)
            expression = style.rest.expand(len(frames), -1)
            valid = inside
        else:
            features = clip.speech[VARIANTS[int(rng.random() < self.config.spoilt_share)]]
            times = times + rng.uniform(-1, 1) * self.config.jitter_s
            expression, valid = torch.from_numpy(clip.expression[frames]), clip.valid[frames] & inside
        heard = (times >= 0) & (times < features.duration) & inside
        return {
            "speech": sample_rows(features.values, torch.from_numpy(times) * features.rate).float(),
            "heard": torch.from_numpy(heard),
            "style": style,
            "expression": expression,
            "valid": torch.from_numpy(valid & heard),
            "template": torch.from_numpy(clip.template),
        }

    def _style(self, clip: SpokenClip, start: int, rng: np.random.Generator) -> Style:
        """Take the style from the longest part of the clip that the target does not touch, cut to a random length."""
        stop = start + self.config.num_frames
        first, last = (0, start) if start > len(clip) - stop else (stop, len(clip))
        if last - first < self.config.min_style_frames:
            first, last = 0, len(clip)
        length = int(rng.integers(min(self.config.min_style_frames, last - first), last - first + 1))
        first = int(rng.integers(first, last - length + 1))
        chosen = slice(first, first + length)
        if clip.valid[chosen].sum() < 2:
            chosen = slice(None)
        return style_of(clip.expression[chosen], clip.valid[chosen], clip.template, self.face_model)


def load_noises(corpus: Path) -> list[SpeechFeatures]:
    """Load the cached sounds in which nobody speaks."""
    return [
        features
        for path in sorted((corpus / "audio").glob(f"{NOISE_PREFIX}*.npz"))
        for features in read_speech(path).values()
    ]
