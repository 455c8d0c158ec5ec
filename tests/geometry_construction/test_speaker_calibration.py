"""Speaker calibration: what it corrects, and that too little speech, or another person's, changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import write_clip
from test_model import CONFIG, random_style, speech, toy_face_model

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import (
    MAX_S,
    SpeakerCalibration,
    SpeakerCalibrator,
    calibrate,
    first_seconds,
    hidden_and_prediction,
    ridge,
    seen_from,
)
from personatalk.options import DubbingOptions


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GeometryModel(CONFIG).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def geometry_of(expression: np.ndarray) -> FaceGeometry:
    count = len(expression)
    return FaceGeometry(
        template=np.zeros((468, 3), np.float32), expression=expression, rotation=np.tile(np.eye(3), (count, 1, 1)),
        translation=np.zeros((count, 2)), scale=np.ones(count), valid=np.ones(count, bool),
        times=np.arange(count) / 25,
    )  # fmt: skip


def person(model, seconds: float, offset_s: float = 0.0) -> tuple[FaceGeometry, torch.Tensor]:
    """A person whose mouth follows the model, plus a linear map of its hidden layer that is their own."""
    own = torch.randn(4, CONFIG.dim, generator=torch.Generator().manual_seed(3))
    times = torch.arange(int(seconds * 25), dtype=torch.float64) / 25 - offset_s
    with torch.no_grad():
        hidden, predicted = hidden_and_prediction(
            model, speech(seconds), times.clamp(0, seconds - 0.02), random_style()
        )
    return geometry_of((predicted + (hidden - hidden.mean(0)) @ own.T).numpy()), own


def error_after(model, seconds: float, offset_s: float, assumed_s: float) -> tuple[float, float]:
    geometry, _ = person(model, seconds, offset_s)
    style, times = random_style(), torch.from_numpy(geometry.times - offset_s)
    calibrated, _ = calibrate(model, speech(seconds), geometry, style, offset_s=assumed_s)
    errors = []
    for network in (model, calibrated):
        predicted = predict_expression(network, speech(seconds), times, style, matches_amplitude=False).numpy()
        errors.append(float(np.square(predicted - geometry.expression)[5:-5].mean()))
    return errors[0], errors[1]


def test_ridge_recovers_a_line_and_a_strong_prior_forbids_it():
    random = torch.Generator().manual_seed(0)
    inputs, truth = torch.randn(500, 6, generator=random).double(), torch.randn(3, 6, generator=random).double()
    missed = inputs @ truth.T + 2
    torch.testing.assert_close(ridge(inputs, missed, frame_s=0.04, prior=1e-6), truth, atol=1e-4, rtol=1e-4)
    assert ridge(inputs, missed, frame_s=0.04, prior=1e6).abs().max() < 0.01


def test_the_frame_rate_does_not_weigh():
    random = torch.Generator().manual_seed(0)
    inputs, missed = torch.randn(200, 6, generator=random).double(), torch.randn(200, 3, generator=random).double()
    twice = ridge(inputs.repeat(2, 1), missed.repeat(2, 1), frame_s=0.02)
    torch.testing.assert_close(twice, ridge(inputs, missed, frame_s=0.04))


def test_own_speech_brings_the_mouth_nearer(model):
    before, after = error_after(model, 16, 0.0, 0.0)
    assert after < 0.85 * before


def test_the_offset_matters(model):
    right, wrong = error_after(model, 16, 0.2, 0.2)[1], error_after(model, 16, 0.2, 0.0)[1]
    assert right < 0.9 * wrong


def test_more_speech_says_more_and_strength_scales_it(model):
    geometry, _ = person(model, 16)
    style = random_style()
    changes = []
    for seconds, strength in ((2, 1.0), (16, 1.0), (16, 0.5), (16, 0.0)):
        part = first_seconds(geometry, seconds)
        changed, _ = calibrate(model, speech(16), part, style, offset_s=0.0, strength=strength)
        changes.append((changed.head.weight - model.head.weight).norm().item())
    assert 0 < changes[0] < changes[1]
    assert changes[2] == pytest.approx(changes[1] / 2, rel=1e-3)
    assert changes[3] == 0


def test_the_models_own_weights_stay(model):
    before = model.head.weight.detach().clone()
    calibrate(model, speech(16), person(model, 16)[0], random_style(), offset_s=0.0)
    assert torch.equal(model.head.weight, before)


def test_the_population_mean_residual_is_not_taken_for_the_persons_own(model):
    geometry, own = person(model, 16)
    model.population_residual.copy_(own)
    changed, _ = calibrate(model, speech(16), geometry, random_style(), offset_s=0.0)
    assert (changed.head.weight - model.head.weight).abs().max() < 1e-3


@pytest.mark.parametrize("features", [speech(0.6), speech(4, -90.0)], ids=["short", "silent"])
def test_too_little_speech_changes_nothing(model, features):
    changed, seconds = calibrate(model, features, person(model, 4)[0], random_style(), offset_s=0.0)
    assert changed is model and seconds == 0


def test_a_video_without_sound_changes_nothing(model, tmp_path):
    clip = write_clip(tmp_path / "mute.mp4")
    calibrator = SpeakerCalibrator(encoder=None, network=None, face_model=toy_face_model())
    speaker = calibrator.speaker(clip, person(model, 2)[0], model, DubbingOptions())
    assert speaker.model is model and speaker.calibration == SpeakerCalibration()
    assert speaker.evidence.told_from == "motion"


def test_with_both_options_off_no_audio_is_read(model, tmp_path):
    calibrator = SpeakerCalibrator(encoder=None, network=None, face_model=toy_face_model())
    options = DubbingOptions(measure_offset=False, calibrate=False)
    assert calibrator.speaker(tmp_path / "none.mp4", person(model, 2)[0], model, options).model is model


def test_the_report_is_json():
    own = SpeakerCalibration(offset_s=0.0412345, confidence=12.345, in_sync=True, speech_s=2.5)
    expected = {"offset_s": 0.041, "confidence": 12.35, "agreement": 0.0, "in_sync": True, "calibrated_on_s": 2.5}
    assert json.loads(json.dumps(own.report())) == pytest.approx(expected, abs=0.01)


def test_only_the_first_seconds_are_used():
    geometry = geometry_of(np.zeros((1000, 4), np.float32))
    late = replace(geometry, times=geometry.times + 7)
    part = first_seconds(late, MAX_S)
    assert part.times[0] == 0 and part.times[-1] < MAX_S and len(part.expression) == len(part.valid) == 500


def test_a_person_who_comes_into_sight_late_is_heard_from_there_on():
    late = geometry_of(np.arange(1000, dtype=np.float32)[:, None])
    late = replace(late, valid=np.arange(1000) >= 600, times=late.times + 3.0)
    assert seen_from(late) == pytest.approx(24.0)
    part = first_seconds(late, 10.0, seen_from(late))
    assert part.expression[[0, -1], 0].tolist() == [600, 849] and part.valid.all() and part.times[0] == 0
