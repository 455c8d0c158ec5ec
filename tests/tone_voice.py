"""A stand-in for a voice of Piper: it hums instead of speaking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np

RATE_HZ = 22050
SENTENCE_S = 0.5


def write_voice(folder: Path) -> Path:
    """Write the two files of a voice; returns the path of the first."""
    path = folder / "voice.onnx"
    path.write_bytes(b"weights")
    path.with_name("voice.onnx.json").write_text("{}")
    return path


class ToneVoice:
    """What is used of `piper.PiperVoice`: as in Piper, a chunk for each sentence, none where there is no letter."""

    @staticmethod
    def load(path: Path) -> ToneVoice:
        if not path.read_bytes():
            raise ValueError("it is empty")
        return ToneVoice()

    def synthesize(self, text: str) -> Iterator[SimpleNamespace]:
        tone = 0.5 * np.sin(2 * np.pi * 220 * np.arange(round(SENTENCE_S * RATE_HZ)) / RATE_HZ)
        samples = (tone * 32767).astype("<i2").tobytes()
        for sentence in text.split("."):
            if sentence.strip():
                yield SimpleNamespace(sample_rate=RATE_HZ, sample_channels=1, audio_int16_bytes=samples)
