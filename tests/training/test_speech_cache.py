"""The cache of speech features: what was written comes back, and another encoder's features are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from personatalk.errors import CheckpointError
from personatalk.speech.config import SpeechEncoderConfig
from personatalk.speech.features import SAMPLE_RATE, SpeechFeatures
from personatalk.training.corpus import Clip
from personatalk.training.speech_cache import SPEEDS, VARIANTS, cache_speech, load_noises, read_speech, write_speech


class LevelEncoder:
    """Encodes the level alone, four times."""

    config = SpeechEncoderConfig()

    def encode(self, waveform: np.ndarray) -> SpeechFeatures:
        count = len(waveform) // 320
        power = np.square(waveform[: 320 * count]).reshape(count, 320).mean(1)
        values = torch.from_numpy(power).float()[:, None].expand(-1, 4)
        return SpeechFeatures(values=values, level_db=torch.full((count,), -20.0))


def clip_named(name: str) -> Clip:
    return Clip(file=f"{name}.mp4", split="train", person=name)


@pytest.fixture
def corpus(tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("personatalk.training.speech_cache.NUM_NOISES", 4)
    (tmp_path / "speech.mp4").write_bytes(speech.read_bytes())
    assert cache_speech([clip_named("speech"), clip_named("missing")], tmp_path, tmp_path, LevelEncoder()) == 1
    return tmp_path


def test_cached_speech_comes_back_in_every_variant(corpus):
    variants = read_speech(corpus / "audio" / "speech.npz")
    assert tuple(variants) == VARIANTS
    assert len(variants["clean"].values) == len(variants["noisy"].values) == len(variants["pitched"].values) == 25
    stretched = variants["stretched"]
    assert 1 / SPEEDS[1] <= stretched.time_scale <= 1 / SPEEDS[0]
    assert len(stretched.values) == pytest.approx(25 * stretched.time_scale, abs=1)


def test_noises_are_not_stretched(corpus):
    noises = load_noises(corpus)
    assert len(noises) == 2 * 4 and all(noise.time_scale == 1 for noise in noises)


def test_a_stretched_variant_has_its_moments_where_its_time_scale_says(tmp_path):
    waveform = np.zeros(2 * SAMPLE_RATE, np.float32)
    waveform[SAMPLE_RATE : SAMPLE_RATE + 3200] = 0.3 * np.sin(np.arange(3200) / 5)
    for seed in range(3):
        write_speech(tmp_path / "speech.npz", waveform, LevelEncoder(), seed=seed, variants=["stretched"])
        stretched = read_speech(tmp_path / "speech.npz")["stretched"]
        level = stretched.values[:, 0].float()
        middle = (level * torch.arange(len(level))).sum() / level.sum() / stretched.rate
        assert middle == pytest.approx(1.1 * stretched.time_scale, abs=0.03)


def test_files_without_the_newer_variants_are_read(tmp_path):
    values, level = np.zeros((9, 4), np.float16), np.zeros(9)
    np.savez(tmp_path / "a.npz", clean_values=values, clean_level_db=level, noisy_values=values, noisy_level_db=level)
    variants = read_speech(tmp_path / "a.npz")
    assert tuple(variants) == ("clean", "noisy") and variants["clean"].time_scale == 1


def test_features_of_another_encoder_are_refused(corpus):
    encoder = LevelEncoder()
    encoder.config = SpeechEncoderConfig(kind="hubert", dim=768, output_layers=[8])
    with pytest.raises(CheckpointError, match="whisper-384-2-3.*hubert-768-8"):
        cache_speech([clip_named("speech")], corpus, corpus, encoder)
    (corpus / "audio" / "speech_encoder.json").unlink()  # a corpus from before other encoders than Whisper
    with pytest.raises(CheckpointError, match="whisper-384-2-3.*hubert-768-8"):
        cache_speech([clip_named("speech")], corpus, corpus, encoder)
