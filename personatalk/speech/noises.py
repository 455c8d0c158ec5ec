"""Synthetic sounds without speech: noise, tones, music and machines."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from personatalk.speech.features import SAMPLE_RATE

NOISES = ("silence", "white", "pink", "brown", "hum", "chord", "reed")
UNSEEN_NOISES = ("melody", "drums", "engine")  # held out of training, for evaluation


def make_noise(kind: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Synthesise a sound without speech.

    Args:
        kind: one of NOISES or UNSEEN_NOISES.
        num_samples: at 16 kHz.

    Returns:
        [num_samples] float64, root mean square about 0.1, for silence 1e-5.
    """
    if kind == "silence":
        return rng.normal(0, 1e-5, num_samples)
    times = np.arange(num_samples) / SAMPLE_RATE
    nothing = np.zeros(num_samples)
    if kind == "hum":
        return sum((0.1 / k * np.sin(2 * np.pi * 50 * k * times + rng.uniform(0, 6)) for k in (1, 2, 3, 5)), nothing)
    if kind == "chord":
        root, beat = rng.uniform(110, 330), rng.uniform(1, 4)
        tones = sum((np.sin(2 * np.pi * root * ratio * times) for ratio in (1, 1.25, 1.5, 2, 3)), nothing)
        return 0.05 * tones * (0.3 + np.exp(-3 * ((times * beat) % 1)))
    if kind in PLAYED:
        sound = PLAYED[kind](times, rng)
        return 0.1 * sound / (sound.std() + 1e-12)
    colour = {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind]
    spectrum = np.fft.rfft(rng.normal(0, 1, num_samples))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1 + num_samples * 50 / SAMPLE_RATE) ** colour
    sound = np.fft.irfft(spectrum, num_samples)
    return 0.1 * sound / (sound.std() + 1e-12)


def _reed(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A wind instrument: slurred notes with overtones, vibrato and breath, and pauses between phrases."""
    rate = rng.uniform(2, 6)  # notes a second
    notes = rng.integers(-12, 17, int(len(times) / SAMPLE_RATE * rate) + 2)
    height = gaussian_filter1d(notes[(times * rate).astype(int)].astype(float), 0.02 * SAMPLE_RATE)
    vibrato = rng.uniform(0, 0.02) * np.sin(2 * np.pi * rng.uniform(4, 7) * times)
    frequency = 220 * 2 ** (height / 12) * (1 + vibrato)
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    resonance, width, fall = rng.uniform(500, 1800), rng.uniform(300, 900), rng.uniform(0.6, 1.6)
    tone = np.zeros(len(times))
    for k in range(1, 20):
        overtone = frequency * k
        strength = (0.3 + np.exp(-(((overtone - resonance) / width) ** 2))) / k**fall
        tone += strength * (overtone < SAMPLE_RATE / 2) * np.sin(k * phase)
    swell = gaussian_filter1d(rng.normal(0, 1, len(times)), 0.15 * SAMPLE_RATE)
    swell = np.clip(0.8 + 0.5 * swell / (swell.std() + 1e-12), 0, None)
    return swell * (tone + rng.uniform(0, 0.2) * rng.normal(0, 1, len(times)))


def _melody(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Plucked notes with a little vibrato, one after the other."""
    sound, start = np.zeros(len(times)), 0
    while start < len(times):
        stop = min(len(times), start + int(rng.uniform(0.12, 0.5) * SAMPLE_RATE))
        since = times[start:stop] - times[start]
        phase = 2 * np.pi * 220 * 2 ** (rng.integers(-5, 14) / 12) * since
        phase = phase + 0.5 * np.sin(2 * np.pi * 5.5 * since)
        fall = rng.uniform(1, 2)
        tone = sum(np.sin(k * phase) / k**fall for k in range(1, 8))
        sound[start:stop] = np.minimum(1, 40 * since) * np.exp(-2 * since) * tone
        start = stop
    return sound


def _drums(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bass drum, snare and cymbal in turn."""
    sound = rng.normal(0, 0.002, len(times))
    step = int(30 / rng.uniform(80, 160) * SAMPLE_RATE)
    for index, start in enumerate(range(0, len(times), step)):
        since = times[start : start + 4000] - times[start]
        rattle = rng.normal(0, 0.5, len(since))
        if index % 4 == 0:
            sound[start : start + 4000] += np.sin(2 * np.pi * (50 + 60 * np.exp(-30 * since)) * since) * np.exp(
                -12 * since
            )
        elif index % 4 == 2:
            sound[start : start + 4000] += rattle * np.exp(-20 * since)
        else:
            sound[start : start + 4000] += 0.3 * np.diff(rattle, prepend=0) * np.exp(-60 * since)
    return sound


def _engine(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A low buzz that rises and falls, and air."""
    rate = rng.uniform(25, 60) * (1 + 0.2 * np.sin(2 * np.pi * 0.3 * times))
    phase = 2 * np.pi * np.cumsum(rate) / SAMPLE_RATE
    return 0.4 * sum(np.sin(k * phase + k) / k**0.7 for k in range(1, 25)) + rng.normal(0, 0.3, len(times))


PLAYED = {"reed": _reed, "melody": _melody, "drums": _drums, "engine": _engine}
