"""Own speech is told from another's by two witnesses; an offset at the edge of the search is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_model import CONFIG, speech, toy_face_model
from test_speaker_calibration import geometry_of

from personatalk.evaluation.speech.own_speech import equal_error_rate
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.own_speech import OwnSpeech, agreement
from personatalk.speech.sync_network import IN_SYNC_CONFIDENCE, MAX_OFFSET_S, Synchrony


def heard(confidence: float, agreement: float, offset_s: float = 0.1, valid_s: float = 4.0) -> OwnSpeech:
    found = Synchrony(offset_s=offset_s, confidence=confidence, log_odds=np.zeros(1), valid_s=valid_s)
    return OwnSpeech(synchrony=found, agreement=agreement)


def test_both_witnesses_count_and_neither_is_enough():
    accepts = 2 * IN_SYNC_CONFIDENCE  # of 4 s, for the sync network alone
    assert heard(accepts, 0.6).is_own and heard(0.7 * accepts, 0.7).is_own
    assert not heard(1.2 * accepts, 0.0).is_own and not heard(0.0, 0.7).is_own
    assert heard(accepts, 0.2).certainty == pytest.approx(1)


def test_by_chance_confidence_grows_with_length():
    assert heard(15.0, 0.5, valid_s=4.0).evidence > heard(15.0, 0.5, valid_s=16.0).evidence


def test_an_offset_at_the_edge_is_no_evidence():
    assert heard(100.0, 1.0).is_own and not heard(100.0, 1.0, offset_s=MAX_OFFSET_S + 0.01).is_own


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GeometryModel(CONFIG).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def mouth_for(model: GeometryModel, seconds: float, offset_s: float) -> np.ndarray:
    times = torch.arange(int(25 * seconds), dtype=torch.float64) / 25 - offset_s
    return predict_expression(model, speech(seconds), times, model.average_style).numpy()


def test_a_mouth_agrees_with_its_own_speech_at_its_own_offset(model):
    face_model, features = toy_face_model(), speech(4.0)
    own = geometry_of(3 * mouth_for(model, 4.0, 0.2) + 0.01)  # another amplitude and another rest
    assert agreement(model, features, own, face_model, 0.2) > 0.95
    assert agreement(model, features, own, face_model, 0.24) > 0.95  # a frame is forgiven
    assert agreement(model, features, own, face_model, -0.3) < 0.7
    noise = geometry_of(np.random.default_rng(0).normal(size=own.expression.shape).astype(np.float32))
    assert abs(agreement(model, features, noise, face_model, 0.2)) < 0.3


def test_frames_without_a_face_and_without_sound_have_no_say(model):
    face_model = toy_face_model()
    mouth = mouth_for(model, 4.0, 0.0)
    broken = mouth.copy()
    broken[10:20] = 50.0
    seen = geometry_of(broken)
    seen.valid[10:20] = False
    assert agreement(model, speech(4.0), seen, face_model, 0.0) > 0.95
    assert agreement(model, speech(4.0), replace(seen, times=seen.times + 100), face_model, 0.0) == -1


def test_equal_error_rate():
    assert equal_error_rate(np.array([3.0, 4, 5]), np.array([0.0, 1, 2])) == 0
    assert equal_error_rate(np.arange(100.0), np.arange(100.0)) == pytest.approx(0.5, abs=0.02)
    assert equal_error_rate(np.arange(20.0, 120), np.arange(100.0)) == pytest.approx(0.4, abs=0.02)
