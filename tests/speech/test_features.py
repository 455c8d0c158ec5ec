"""Speech features: the mel spectrogram of other libraries, levels, and time."""

from __future__ import annotations

import librosa
import numpy as np
import torch

from personatalk.speech.features import (
    NUM_MELS,
    SAMPLE_RATE,
    SpeechFeatures,
    features_at,
    level_db,
    log_mel_spectrogram,
    mel_filterbank,
)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)


def slaney_filters() -> np.ndarray:
    """The definition of Slaney's Auditory Toolbox: linear below 1 kHz, logarithmic above, triangles of area one."""
    step = np.log(6.4) / 27
    mels = np.linspace(0, 15 + np.log(8) / step, NUM_MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * step))
    frequencies = np.linspace(0, SAMPLE_RATE / 2, 201)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)


def test_mel_filters_match_the_formula_and_librosa():
    filters = mel_filterbank().numpy()
    np.testing.assert_allclose(filters, slaney_filters(), atol=1e-6)
    np.testing.assert_allclose(filters, librosa.filters.mel(sr=SAMPLE_RATE, n_fft=400, n_mels=80), atol=1e-6)


def test_mel_spectrogram_matches_librosa():
    sound = noise(1.0)
    settings = {"sr": SAMPLE_RATE, "n_fft": 400, "hop_length": 160, "n_mels": 80, "pad_mode": "reflect"}
    power = librosa.feature.melspectrogram(y=sound, **settings)
    expected = np.log10(np.maximum(power[:, :-1], 1e-10))
    expected = (np.maximum(expected, expected.max() - 8) + 4) / 4
    np.testing.assert_allclose(log_mel_spectrogram(torch.from_numpy(sound), mel_filterbank()), expected, atol=1e-4)


def test_blocks_of_the_spectrogram_do_not_change_it(monkeypatch):
    sound, filters = torch.from_numpy(noise(7.3)), mel_filterbank()
    whole = log_mel_spectrogram(sound, filters)
    monkeypatch.setattr("personatalk.speech.features.MEL_BLOCK", 100)
    torch.testing.assert_close(log_mel_spectrogram(sound, filters), whole, atol=1e-5, rtol=0)


def test_level_of_a_sine():
    sine = 0.5 * torch.sin(torch.arange(SAMPLE_RATE) * 2 * np.pi * 400 / SAMPLE_RATE)
    expected = 10 * np.log10(0.125)
    torch.testing.assert_close(level_db(sine, 50)[5:-5], torch.full((40,), expected), atol=0.05, rtol=0)


def test_features_at_keeps_time_in_place():
    ramp = SpeechFeatures(values=torch.arange(101.0)[:, None] / 50, level_db=torch.zeros(101))
    times = torch.tensor([-1.0, 0.0, 0.013, 1.0, 1.999, 5.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.0, 0.013, 1.0, 1.999, 2.0])
    torch.testing.assert_close(features_at(ramp, times)[:, 0], expected)
