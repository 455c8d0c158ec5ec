"""Sounds in which nobody speaks."""

from __future__ import annotations

import numpy as np

from personatalk.audio import SAMPLE_RATE

NOISES = ("silence", "white", "pink", "brown", "hum", "chord")


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
