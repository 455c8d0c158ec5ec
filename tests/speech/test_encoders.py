"""The speech encoder: right numbers, right times, any length."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch

from personatalk.errors import AdapterError, CheckpointError
from personatalk.speech.config import SpeechEncoderConfig
from personatalk.speech.encoders import HubertEncoder, WhisperEncoder, load_speech_encoder
from personatalk.speech.features import SpeechFeatures, features_at, level_db, log_mel_spectrogram, mel_filterbank

SAMPLE_RATE = 16_000


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return WhisperEncoder(SpeechEncoderConfig(dim=64, output_layers=[1, 2])).eval()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)


def test_mel_matches_librosa():
    librosa = pytest.importorskip("librosa")
    reference = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=400, n_mels=80)
    np.testing.assert_allclose(mel_filterbank(), reference, atol=1e-7)
    sound = noise(1.0)
    settings = {"sr": SAMPLE_RATE, "n_fft": 400, "hop_length": 160, "n_mels": 80, "pad_mode": "reflect"}
    power = librosa.feature.melspectrogram(y=sound, **settings)
    expected = np.log10(np.maximum(power[:, :-1], 1e-10))
    expected = (np.maximum(expected, expected.max() - 8) + 4) / 4
    np.testing.assert_allclose(log_mel_spectrogram(torch.from_numpy(sound), mel_filterbank()), expected, atol=1e-4)


@pytest.mark.parametrize("second", [2, 11], ids=["first window", "second window"])
def test_a_click_is_heard_at_its_time(encoder, second):
    sound = noise(14.0) * 0.01
    clicked = sound.copy()
    clicked[second * SAMPLE_RATE : second * SAMPLE_RATE + 160] += 0.02 * np.sin(np.arange(160))
    difference = (encoder.encode(clicked).values - encoder.encode(sound).values).abs().mean(1)
    assert abs(difference.argmax().item() / 50 - second - 0.005) < 0.03


def test_long_recordings_give_what_short_ones_give(encoder):
    long = np.tile(noise(8.0), 4)  # the same loudness and peak whatever the length
    short = encoder.encode(long[: 24 * SAMPLE_RATE]).values
    assert len(short) == 24 * 50  # the last window of the short one hears less of what follows
    torch.testing.assert_close(encoder.encode(long).values[: 16 * 50], short[: 16 * 50], atol=2e-3, rtol=0)


@pytest.mark.parametrize("num_samples", [1, 319, 320, 321, 16_000])
def test_any_length_works(encoder, num_samples):
    features = encoder.encode(np.full(num_samples, 0.1, np.float32))
    assert len(features.values) == len(features.level_db) == -(-num_samples // 320)
    assert torch.isfinite(features.values).all()


def test_empty_waveform_is_refused(encoder):
    with pytest.raises(ValueError, match=r"\(0,\)"):
        encoder.encode(np.zeros(0, np.float32))


def test_gain_does_not_matter(encoder):
    loud, quiet = encoder.encode(noise(2.0)), encoder.encode(noise(2.0) * 0.1)
    torch.testing.assert_close(loud.values, quiet.values, atol=1e-3, rtol=1e-3)


def test_silence_stays_silent(encoder):
    assert encoder.encode(noise(1.0) * 1e-4).level_db.max() < -60


def test_level_of_a_sine():
    sine = 0.5 * torch.sin(torch.arange(SAMPLE_RATE) * 2 * np.pi * 400 / SAMPLE_RATE)
    expected = 10 * np.log10(0.125)
    torch.testing.assert_close(level_db(sine, 50)[5:-5], torch.full((40,), expected), atol=0.05, rtol=0)


def test_blocks_of_the_spectrogram_do_not_change_it(monkeypatch):
    sound = torch.from_numpy(np.random.default_rng(0).normal(size=160 * 730).astype(np.float32))
    bands = mel_filterbank()
    whole = log_mel_spectrogram(sound, bands)
    monkeypatch.setattr("personatalk.speech.features.MEL_BLOCK", 100)
    torch.testing.assert_close(log_mel_spectrogram(sound, bands), whole, atol=1e-5, rtol=0)


def test_features_at_keeps_time_in_place():
    ramp = SpeechFeatures(values=torch.arange(101.0)[:, None] / 50, level_db=torch.zeros(101))
    times = torch.tensor([-1.0, 0.0, 0.013, 1.0, 1.999, 5.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.0, 0.013, 1.0, 1.999, 2.0])
    torch.testing.assert_close(features_at(ramp, times)[:, 0], expected)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="speech_encoder.json"):
        load_speech_encoder(tmp_path)
    (tmp_path / "speech_encoder.json").write_text('{"dim": 64, "output_layers": [1]}')
    with pytest.raises(CheckpointError, match="conv1.weight"):
        load_speech_encoder(tmp_path)


def test_missing_torchaudio_is_named(monkeypatch):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("torchaudio"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(AdapterError, match="pip install torchaudio"):
        HubertEncoder()
