"""The speech encoders: right times, any length, any gain, and files that fit."""

from __future__ import annotations

from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchaudio
from safetensors.torch import save_file

from personatalk.checkpoints import DEFAULT_FOLDER, save_model
from personatalk.errors import AdapterError, CheckpointError
from personatalk.speech.config import SpeechEncoderConfig
from personatalk.speech.encoders import (
    HUBERT_STRIDES,
    HubertEncoder,
    WhisperEncoder,
    load_hubert,
    load_speech_encoder,
)
from personatalk.speech.features import SAMPLE_RATE, SAMPLES_PER_FEATURE


def small_hubert(dim: int = 64, num_layers: int = 3) -> torch.nn.Module:
    """HuBERT base with random weights and narrow layers."""
    torch.manual_seed(0)
    kernels = (10, 3, 3, 3, 3, 2, 2)
    return torchaudio.models.wav2vec2_model(
        "group_norm", [(32, *layer) for layer in zip(kernels, HUBERT_STRIDES, strict=True)], False, dim, 0.1, 128, 16,
        num_layers, dim // 64, 0.1, 4 * dim, 0.0, 0.1, False, 0.05, None,
    ).eval()  # fmt: skip


@pytest.fixture(params=["whisper", "hubert"])
def encoder(request):
    torch.manual_seed(0)
    config = SpeechEncoderConfig(kind=request.param, dim=64, output_layers=[1, 2])
    if request.param == "whisper":
        return WhisperEncoder(config).eval()
    return HubertEncoder(config, small_hubert().state_dict()).eval()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)


@pytest.mark.parametrize("second", [2, 11], ids=["first window", "second window"])
def test_an_impulse_changes_the_features_of_its_time(encoder, second):
    background = noise(14.0) * 0.01
    clicked = background.copy()
    middle = second * SAMPLE_RATE + 3 * SAMPLES_PER_FEATURE
    clicked[middle - 8 : middle + 8] += 0.05
    difference = (encoder.encode(clicked).values - encoder.encode(background).values).square().sum(1)
    row = second * 50 + 3
    assert difference.argmax() == row
    near = difference[row - 1 : row + 2]  # as much before as after: no offset of a part of a feature
    assert (near[2] - near[0]).abs() < 0.3 * near[1]


def test_long_recordings_give_what_short_ones_give(encoder):
    long = np.tile(noise(8.0), 4)  # the same level and peak whatever the length
    short = encoder.encode(long[: 24 * SAMPLE_RATE]).values
    assert len(short) == 24 * 50  # the last window of the short one has less context after it
    torch.testing.assert_close(encoder.encode(long).values[: 16 * 50], short[: 16 * 50], atol=2e-3, rtol=0)


@pytest.mark.parametrize("num_samples", [1, 319, 320, 321, 16_000])
def test_any_length_works(encoder, num_samples):
    features = encoder.encode(noise(1.0)[:num_samples])
    assert len(features.values) == len(features.level_db) == -(-num_samples // 320)
    assert features.values.shape[1] == encoder.config.feature_dim == 128
    assert torch.isfinite(features.values).all()


def test_empty_waveform_is_refused(encoder):
    with pytest.raises(ValueError, match=r"\(0,\)"):
        encoder.encode(np.zeros(0, np.float32))


def test_gain_does_not_matter(encoder):
    loud, quiet = encoder.encode(noise(2.0)), encoder.encode(noise(2.0) * 0.1)
    torch.testing.assert_close(loud.values, quiet.values, atol=1e-3, rtol=1e-3)


def test_silence_stays_silent(encoder):
    assert encoder.encode(noise(1.0) * 1e-4).level_db.max() < -60


def test_hubert_features_are_those_of_torchaudio():
    model, waveform = small_hubert(), noise(1.0)
    config = SpeechEncoderConfig(kind="hubert", dim=64, output_layers=[1, 3])
    features = HubertEncoder(config, model.state_dict()).eval().encode(waveform)
    normalised = torch.from_numpy(waveform) * 10 ** ((features.level_db.quantile(0.95) - level_of(waveform)) / 20)
    padded = torch.nn.functional.pad(normalised, (200, -120))
    with torch.no_grad():
        outputs = model.extract_features(padded[None])[0]
    assert len(outputs[0][0]) == 50
    torch.testing.assert_close(features.values, torch.cat([outputs[0][0], outputs[2][0]], 1), atol=1e-3, rtol=1e-3)


def level_of(waveform: np.ndarray) -> float:
    """95th percentile of the level in 40 ms every 20 ms, dB."""
    padded = np.pad(waveform.astype(np.float64) ** 2, (320, 320))
    powers = [padded[start : start + 640].mean() for start in range(0, len(waveform), 320)]
    return float(10 * np.log10(np.quantile(powers, 0.95)))


@pytest.mark.parametrize("name", ["hubert.pth", "hubert.safetensors"])
def test_hubert_is_loaded_from_a_file_and_kept_with_the_checkpoints(tmp_path, name):
    weights = small_hubert(num_layers=3).state_dict()
    save_file(weights, tmp_path / name) if name.endswith("safetensors") else torch.save(weights, tmp_path / name)
    loaded = load_hubert(tmp_path / name, [2])
    assert loaded.config.name == "hubert-64-2"
    save_model(loaded, loaded.config, tmp_path / "run", "speech_encoder")
    again = load_speech_encoder(tmp_path / "run")
    assert again.config == loaded.config
    assert torch.equal(again.encode(noise(0.5)).values, loaded.encode(noise(0.5)).values)
    assert (tmp_path / "run" / "speech_encoder.safetensors").stat().st_size < (tmp_path / name).stat().st_size


def test_files_that_are_no_hubert_are_refused_by_name(tmp_path):
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save(dict(list(small_hubert().state_dict().items())[:-2]), tmp_path / "part.pth")
    for name in ("page.pth", "list.pth", "other.pth", "part.pth", "missing.pth"):
        with pytest.raises(CheckpointError, match=name):
            load_hubert(tmp_path / name, [1])
    with pytest.raises(CheckpointError, match="other.pth.*hubert_fairseq_base_ls960.pth"):
        load_hubert(tmp_path / "other.pth", [1])


def test_layers_that_the_file_does_not_have_are_refused(tmp_path):
    torch.save(small_hubert(num_layers=3).state_dict(), tmp_path / "hubert.pth")
    with pytest.raises(CheckpointError, match="3 layers.*layer 8"):
        load_hubert(tmp_path / "hubert.pth", [8])
    with pytest.raises(ValueError, match=r"\[0\]"):
        SpeechEncoderConfig(output_layers=[0])


def test_a_download_that_fails_says_what_to_get_and_where_to_put_it(monkeypatch):
    def offline(*_args, **_kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("torch.hub.get_dir", lambda: "/nonexistent")
    monkeypatch.setattr("os.makedirs", lambda *_args, **_kwargs: None)
    with pytest.raises(AdapterError, match="no route to host.*hubert_fairseq_base_ls960.pth.*--hubert-weights"):
        load_hubert(None, [8])


def test_whisper_weights_that_are_missing_or_do_not_fit_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="speech_encoder.json"):
        load_speech_encoder(tmp_path)
    (tmp_path / "speech_encoder.json").write_text('{"dim": 64, "output_layers": [1]}')
    with pytest.raises(CheckpointError, match="conv1.weight"):
        load_speech_encoder(tmp_path)
    (tmp_path / "speech_encoder.json").write_text('{"kind": "wavlm"}')
    with pytest.raises(CheckpointError, match="wavlm"):
        load_speech_encoder(tmp_path)


def test_the_encoder_that_ships_is_whisper():
    encoder = load_speech_encoder(DEFAULT_FOLDER)
    assert encoder.config.name == "whisper-384-2-3" and encoder.config.feature_dim == 768
