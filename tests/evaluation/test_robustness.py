"""Fast, slow and pitched speech: the truth follows the change of speed, and the figures say what they promise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.speech.robustness import (
    CONDITIONS,
    Condition,
    find_onsets,
    robustness_figures,
    true_aperture,
)
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture
from personatalk.media import read_audio
from personatalk.speech.features import SAMPLE_RATE


@pytest.fixture(scope="module")
def clip():
    """Frames 50 to 99 of a clip at 25 fps, of which 10 are not trusted, whose mouth opens and closes once a second."""
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    rows = np.r_[50:70, 80:100]
    expression = np.zeros((40, face_model.num_speech), np.float32)
    expression[:, 0] = np.sin(2 * np.pi * rows / 25)
    return SimpleNamespace(times=torch.from_numpy(rows / 25), truth=face_model.vertices(face_model.mean, expression))


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.5])
def test_the_truth_is_played_at_the_speed_of_the_speech(clip, speed):
    times, aperture = true_aperture(clip, speed)
    original = lip_aperture(clip.truth)
    expected = np.interp(times * speed, clip.times.numpy(), original)
    np.testing.assert_allclose(aperture, expected, atol=1e-6)
    assert times[0] == pytest.approx(2 / speed) and np.diff(times).min() == pytest.approx(0.04)
    assert not ((times * speed > 2.79) & (times * speed < 3.19)).any()  # nobody knows the mouth there


def test_conditions_change_length_only_with_speed():
    waveform = read_audio(DEFAULT_FOLDER.parent / "assets" / "speech_bridge.wav")[:SAMPLE_RATE]
    for condition in CONDITIONS.values():
        assert len(condition.apply(waveform)) == pytest.approx(len(waveform) / condition.speed, abs=1)
    assert Condition().apply(waveform) is waveform


def test_onsets_are_found_where_sounds_begin_and_move_with_the_speed():
    times, starts = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE, np.array([0.4, 0.9, 1.5])
    sounding = sum((times >= start) & (times < start + 0.15) for start in starts)
    bursts = (0.3 * np.random.default_rng(0).normal(size=len(times)) * sounding).astype(np.float32)
    np.testing.assert_allclose(find_onsets(bursts), starts, atol=0.05)
    np.testing.assert_allclose(find_onsets(Condition(speed=1.25).apply(bursts)), starts / 1.25, atol=0.06)


def test_figures_see_a_late_mouth_a_small_one_and_a_wrong_one_at_onsets():
    times = np.arange(200) / 25
    rng = np.random.default_rng(0)
    truth = np.interp(times, np.arange(9), rng.uniform(0, 0.1, 9))
    onsets = np.arange(1.0, 7.5)
    late = robustness_figures(0.5 * np.roll(truth, 2), truth, times=times, onsets=onsets)
    assert late["lag_frames"] == 2
    assert late["deviation_ratio"] == pytest.approx(0.5, abs=0.01)
    same = robustness_figures(2 * truth, truth, times=times, onsets=onsets)
    assert same["aperture_r"] == pytest.approx(1) and same["onset_r"] == pytest.approx(1)
    wrong = truth.copy()
    for onset in onsets:  # the right mouth, but for what it does at onsets
        around = np.abs(times - onset) < 0.2
        wrong[around] = 2 * truth[around].mean() - truth[around]
    assert robustness_figures(wrong, truth, times=times, onsets=onsets)["onset_r"] < 0
    assert np.isnan(robustness_figures(truth, truth, times=times, onsets=onsets[:3])["onset_r"])
