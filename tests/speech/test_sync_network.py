"""Synchrony of lips and audio: the right sign, any frame rate, and no result where too little is known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import CheckpointError
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.evaluation.speech.sync import SyncClip, frames_apart
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.media import read_audio
from personatalk.speech.config import SyncConfig
from personatalk.speech.features import SAMPLE_RATE, mel_spectrogram_features
from personatalk.speech.sync_network import (
    IN_SYNC_CONFIDENCE,
    NUM_SHIFTS,
    Synchrony,
    SyncNetwork,
    find_best_shift,
    lip_features,
    load_sync_network,
    measure_lip_synchrony,
    measure_synchrony,
)


@pytest.fixture(scope="module")
def judge():
    return load_sync_network(DEFAULT_FOLDER, "sync_judge")


@pytest.fixture(scope="module")
def sound():
    return mel_spectrogram_features(read_audio(DEFAULT_FOLDER.parent / "assets" / "speech_bridge.wav"))


@pytest.fixture(scope="module")
def lips():
    return np.random.default_rng(0).normal(size=(60, 34)).astype(np.float32) / 10


def test_a_picture_that_comes_later_has_a_greater_offset(judge, sound, lips):
    times, valid = 0.5 + np.arange(60) / 25, np.ones(60, bool)
    before = measure_lip_synchrony(judge, sound, lips, valid, times)
    after = measure_lip_synchrony(judge, sound, lips, valid, times + 2 / 25)
    np.testing.assert_allclose(after.log_odds[:-4], before.log_odds[4:], atol=0.02)


def test_the_frame_rate_of_the_picture_does_not_matter(judge, sound, lips):
    times = np.arange(60) / 25
    fine = np.arange(119) / 50
    doubled = np.stack([np.interp(fine, times, column) for column in lips.T], 1).astype(np.float32)
    slow = measure_lip_synchrony(judge, sound, lips, np.ones(60, bool), times)
    fast = measure_lip_synchrony(judge, sound, doubled, np.ones(119, bool), fine)
    np.testing.assert_allclose(fast.log_odds, slow.log_odds, atol=0.05)


def test_who_speaks_does_not_matter():
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    expression = np.random.default_rng(0).normal(size=(20, face_model.num_speech)).astype(np.float32)
    lips = lip_features(expression, np.ones(20, bool), face_model.mean, face_model)
    shifted = lip_features(expression + 0.3, np.ones(20, bool), face_model.mean, face_model)
    np.testing.assert_allclose(lips[:, :-2], shifted[:, :-2], atol=1e-5)


def test_the_peak_is_found_between_half_frames():
    steps = np.arange(NUM_SHIFTS)
    found = find_best_shift(-np.square(steps - 33.3) / 10)
    assert found.offset_s == pytest.approx(-3.3 / 50, abs=1e-3)
    assert found.confidence > 5


def test_flat_evidence_has_no_confidence():
    assert find_best_shift(np.zeros(NUM_SHIFTS)).confidence == 0


def test_a_best_shift_at_the_edge_of_the_search_is_no_evidence():
    shifts = np.arange(NUM_SHIFTS, dtype=float)
    for best in (0, 2, NUM_SHIFTS - 1):
        found = find_best_shift(40 - np.abs(shifts - best))
        assert found.confidence > IN_SYNC_CONFIDENCE and not found.in_sync
    inside = find_best_shift(40 - 2 * np.abs(shifts - 10))
    assert inside.in_sync and abs(inside.offset_s) > 0.35


def test_a_longer_clip_needs_more_evidence():
    short = Synchrony(offset_s=0.0, confidence=12.0, log_odds=np.zeros(NUM_SHIFTS), valid_s=2.0)
    assert short.in_sync and not replace(short, valid_s=16.0).in_sync


def test_too_short_or_unseen_is_not_judged(judge, sound, lips):
    assert measure_lip_synchrony(judge, sound, lips[:12], np.ones(12, bool), np.arange(12) / 25) is None
    assert measure_lip_synchrony(judge, sound, lips, np.zeros(60, bool), np.arange(60) / 25) is None
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    geometry = fit_track(known_face(face_model, noise_iod=0, seed=4).track, face_model)
    assert measure_synchrony(judge, sound, replace(geometry, valid=geometry.valid & False), face_model) is None


def test_sound_that_lies_elsewhere_is_not_judged(judge, sound, lips):
    assert measure_lip_synchrony(judge, sound, lips, np.ones(60, bool), 1000 + np.arange(60) / 25) is None


@pytest.mark.parametrize("length", [1, 159, 16000])
def test_any_sound_has_a_spectrogram(length):
    waveform = np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)
    features = mel_spectrogram_features(waveform)
    assert features.values.shape == (max(1, -(-length // 320)), 160)
    assert torch.isfinite(features.values).all()


def test_a_spectrogram_shows_a_tone_when_it_sounds():
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.3 * np.sin(2 * np.pi * 440 * times) * (times > 0.5)).astype(np.float32)
    loud = mel_spectrogram_features(tone).values.mean(1)
    assert loud[30:].mean() > loud[:20].mean() + 0.02 and loud[:20].std() < 0.01


def test_unknown_sounds_and_missing_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'chroma'"):
        SyncConfig(audio="chroma")
    with pytest.raises(CheckpointError, match="sync.json"):
        load_sync_network(tmp_path)


def test_two_networks_are_as_far_apart_as_their_offsets(judge, sound, lips):
    def clip_of(count: int) -> SyncClip:
        geometry = SimpleNamespace(valid=np.ones(count, bool), times=np.arange(count) / 25)
        return SyncClip(clip=None, geometry=geometry, lips=lips[:count], audio={"mel": sound, "speech": None})

    whole = clip_of(60)
    assert frames_apart(judge, judge, whole) == {"within_1_frame": 1.0, "error_frames": 0.0}
    torch.manual_seed(0)
    other = SyncNetwork(judge.config).eval()
    valid, times = whole.geometry.valid, whole.geometry.times
    both = [measure_lip_synchrony(n, sound, lips, valid, times).offset_s * 25 for n in (judge, other)]
    assert both[0] != both[1]
    assert frames_apart(judge, other, whole)["error_frames"] == pytest.approx(abs(both[0] - both[1]))
    assert frames_apart(judge, other, clip_of(12)) == {}
