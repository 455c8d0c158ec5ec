"""Augmented speech: audible, at the right time, and noises as loud as they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.media import read_audio
from personatalk.speech.augmentation import change_speed, degrade, shift_pitch
from personatalk.speech.features import SAMPLE_RATE, level_db
from personatalk.speech.noises import NOISES, make_noise

TONE = (0.3 * np.sin(2 * np.pi * 300 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return read_audio(DEFAULT_FOLDER.parent / "assets" / "speech_bridge.wav")[: 4 * SAMPLE_RATE]


def levels(waveform: np.ndarray) -> np.ndarray:
    """Level every 20 ms, dB."""
    return level_db(torch.from_numpy(waveform), len(waveform) // 320).numpy()


def lag_of(second: np.ndarray, first: np.ndarray) -> int:
    """Steps of 20 ms by which a level curve comes after another."""
    inner = slice(10, len(first) - 10)
    return max(range(-10, 11), key=lambda lag: np.corrcoef(np.roll(second, -lag)[inner], first[inner])[0, 1])


def dominant_hz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(waveform))


@pytest.mark.parametrize("kind", NOISES)
def test_noise_is_finite_and_of_its_level(kind):
    noise = make_noise(kind, 16_000, np.random.default_rng(0))
    assert len(noise) == 16_000 and np.isfinite(noise).all()
    assert (noise.std() < 1e-4) if kind == "silence" else (0.02 < noise.std() < 0.5)


def test_degraded_speech_stays_audible():
    voice = np.sin(np.arange(16_000) / 9).astype(np.float32) * 0.3
    degraded = degrade(voice, np.random.default_rng(0))
    assert np.corrcoef(voice, degraded)[0, 1] > 0.6 and not np.allclose(voice, degraded)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_a_change_of_speed_moves_every_moment_and_keeps_the_pitch(voice, speed):
    changed = change_speed(voice, speed)
    assert len(changed) == round(len(voice) / speed)
    before, after = levels(voice), levels(changed)
    after = np.interp(np.arange(len(before)) / speed, np.arange(len(after)), after)
    assert np.corrcoef(before, after)[0, 1] > 0.95 and lag_of(after, before) == 0
    assert dominant_hz(change_speed(TONE, speed)) == pytest.approx(300, abs=5)


@pytest.mark.parametrize("semitones", [-4, 4])
def test_a_change_of_pitch_keeps_every_moment(voice, semitones):
    changed = shift_pitch(voice, semitones)
    assert len(changed) == len(voice)
    assert np.corrcoef(levels(voice), levels(changed))[0, 1] > 0.95 and lag_of(levels(changed), levels(voice)) == 0
    assert dominant_hz(shift_pitch(TONE, semitones)) == pytest.approx(300 * 2 ** (semitones / 12), abs=5)
