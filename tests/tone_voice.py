"""Stand-ins for voices of Piper and Kokoro: they hum instead of speaking."""

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


def write_kokoro(folder: Path) -> tuple[Path, Path]:
    """Write the two files of Kokoro; returns their paths."""
    paths = folder / "kokoro.onnx", folder / "voices.bin"
    for path in paths:
        path.write_bytes(b"weights")
    return paths


class ToneKokoro:
    """What is used of `kokoro_onnx.Kokoro`: a louder tone than fits, at 24 kHz, as long as the text is."""

    rate_hz = 24000
    character_s = 0.05

    def __init__(self, model_path: str, voices_path: str) -> None:
        if not Path(model_path).read_bytes():
            raise ValueError("it is empty")
        self.said: list[tuple[str, str, str]] = []

    def get_voices(self) -> list[str]:
        return ["zf_xiaobei", "af_heart", "bm_george", "ff_siwis"]

    def create(self, text: str, voice: str, speed: float = 1.0, lang: str = "en-us") -> tuple[np.ndarray, int]:
        self.said.append((text, voice, lang))
        times = np.arange(round(len(text) * self.character_s * self.rate_hz)) / self.rate_hz
        return 1.5 * np.sin(2 * np.pi * 220 * times).astype(np.float32), self.rate_hz
