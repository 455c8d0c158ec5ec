"""When the mouth may open: stage 1's voice detector beside silero-vad, on sounds without speech and on speech.

python -m benchmarks.voice_activity clips --manifest manifest.tsv      (pip install silero-vad)
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.samples import CHECKPOINTS
from personatalk.checkpoints import load_config, load_into
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.model import GeometryModel
from personatalk.media import read_audio
from personatalk.speech.augmentation import degrade
from personatalk.speech.encoders import SpeechEncoder, load_speech_encoder
from personatalk.speech.features import SAMPLE_RATE, SpeechFeatures, normalise_level, sample_rows
from personatalk.speech.noises import NOISES, UNSEEN_NOISES, make_noise
from personatalk.speech.voice_activity import speech_gate
from personatalk.training.corpus import read_manifest, spread_over_persons

SECONDS, REPEATS = 4.0, 5
FRAME_RATE = 25.0
LOUD_DB = -40.0  # a feature this loud has speech in it, in a clip of somebody speaking
SILERO_CHUNK = 512  # samples, the only size that silero-vad takes at 16 kHz

Detector = Callable[[np.ndarray, SpeechFeatures], Tensor]


def main(arguments: list[str] | None = None) -> None:
    """Print two tables: how often the mouth opens without speech, and how often it does in speech."""
    parser = argparse.ArgumentParser(description="When the mouth may open: stage 1's voice detector beside silero-vad.")
    parser.add_argument("data", type=Path, help="folder of the clips")
    parser.add_argument("--manifest", type=Path, required=True, help=".tsv of the clips; those of split val are used")
    parser.add_argument("--limit", type=int, default=30, help="clips (default: %(default)s)")
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, help="folder of the weights")
    args = parser.parse_args(arguments)
    encoder = load_speech_encoder(args.checkpoints)
    model = GeometryModel(load_config(GeometryModelConfig, args.checkpoints / "geometry.json")).eval()
    load_into(model, args.checkpoints / "geometry.safetensors")
    detectors = {
        "level alone": lambda _waveform, features: torch.ones(len(features.values)),
        "stage 1's": lambda _waveform, features: model.voice(model.standardise(features.values)).detach(),
        "silero-vad": silero_detector(),
    }
    print_row("frames in which the mouth opens, %", *detectors)
    rng = np.random.default_rng(0)
    for kind in (*NOISES, *UNSEEN_NOISES):
        sounds = [make_noise(kind, int(SECONDS * SAMPLE_RATE), rng).astype(np.float32) for _ in range(REPEATS)]
        print_row(f"{kind}{' (not trained on)' if kind in UNSEEN_NOISES else ''}", *figures(sounds, encoder, detectors))
    clips = [clip for clip in read_manifest(args.manifest, "val") if clip.has_sound]
    speech = [read_audio(args.data / clip.file) for clip in spread_over_persons(clips, args.limit)]
    print_row(f"loud frames of {len(speech)} clips", *figures(speech, encoder, detectors, only_loud=True))
    noisy = [degrade(waveform, rng) for waveform in speech]
    print_row("the same with noise", *figures(noisy, encoder, detectors, only_loud=True))


def figures(
    sounds: list[np.ndarray], encoder: SpeechEncoder, detectors: dict[str, Detector], *, only_loud: bool = False
) -> list[str]:
    """Share of frames in which the gate is at least half open, by detector: per cent."""
    opened: dict[str, list[np.ndarray]] = {name: [] for name in detectors}
    for sound in sounds:
        features = encoder.encode(sound)
        times = torch.arange(int(features.duration * FRAME_RATE), dtype=torch.float64) / FRAME_RATE
        level = sample_rows(features.level_db, times * features.rate)
        judged = level > LOUD_DB if only_loud else torch.ones(len(times), dtype=torch.bool)
        for name, detect in detectors.items():
            gate = speech_gate(features, times, detect(sound, features))
            opened[name].append((gate > 0.5)[judged].numpy())
    return [f"{100 * np.concatenate(parts).mean():.1f}" for parts in opened.values()]


def silero_detector() -> Detector:
    """Probability of speech by silero-vad, at the times of the features."""
    from silero_vad import load_silero_vad  # pyright: ignore[reportMissingImports]

    model: Any = load_silero_vad()

    @torch.inference_mode()
    def detect(waveform: np.ndarray, features: SpeechFeatures) -> Tensor:
        model.reset_states()
        audio = normalise_level(torch.from_numpy(waveform))
        audio = torch.nn.functional.pad(audio, (0, -len(audio) % SILERO_CHUNK))
        probability = torch.cat([model(chunk, SAMPLE_RATE).flatten() for chunk in audio.split(SILERO_CHUNK)])
        middles = torch.arange(len(features.values)) / features.rate * SAMPLE_RATE / SILERO_CHUNK - 0.5
        return sample_rows(probability, middles)

    return detect


def print_row(name: str, *values: str) -> None:
    """Print a row of a table."""
    print(f"| {name:36} | " + " | ".join(f"{value:>11}" for value in values) + " |", flush=True)


if __name__ == "__main__":
    main()
