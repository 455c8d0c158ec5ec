"""The expression of the moment: what lasts is kept, what speaks is not, and lips still close."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_model import CONFIG, random_style, speech
from test_speaker_calibration import geometry_of

from personatalk.checkpoints import DEFAULT_FOLDER, load_config, load_into
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import driven_aperture, driven_gaps, gap_aperture, lip_gaps
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.expression import (
    FACE_ALONE,
    Filter,
    aperture_part,
    low_pass,
    moment_expression,
    segments_of,
)
from personatalk.geometry_construction.lip_closure import CLOSED_IOD, TOLERANCE_IOD
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.style import style_of

SECONDS = 12


@pytest.fixture(scope="module")
def shipped() -> GeometryModel:
    model = GeometryModel(load_config(GeometryModelConfig, DEFAULT_FOLDER / "geometry.json"))
    load_into(model, DEFAULT_FOLDER / "geometry.safetensors")
    return model.eval()


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


@pytest.fixture
def model() -> GeometryModel:
    torch.manual_seed(0)
    model = GeometryModel(CONFIG).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def waves(period_s: float, seconds: float = SECONDS) -> np.ndarray:
    """[T, K] of one period, each coefficient in a phase of its own."""
    times, phases = np.arange(int(25 * seconds)) / 25, np.arange(CONFIG.expression_dim)
    return np.sin(2 * np.pi * times[:, None] / period_s + phases).astype(np.float32)


def test_what_lasts_beside_speech_is_kept_and_what_speaks_is_not(model):
    features, style = speech(SECONDS), random_style()
    times = torch.arange(25 * SECONDS, dtype=torch.float64) / 25
    said = predict_expression(model, features, times, style).numpy()
    slow, fast = waves(8.0), 0.5 * waves(0.3)
    found = moment_expression(model, geometry_of(said + slow + fast), style, features).values
    inner = slice(25, -25)
    assert np.corrcoef(found[inner].ravel(), slow[inner].ravel())[0, 1] > 0.98
    assert np.abs((found - slow)[inner]).mean() < 0.25 * np.abs(slow).mean()


def test_own_speech_leaves_nothing(model):
    features, style = speech(SECONDS), random_style()
    said = predict_expression(model, features, torch.arange(25 * SECONDS) / 25, style).numpy()
    assert np.abs(moment_expression(model, geometry_of(said), style, features).values).max() < 1e-5


def test_without_own_speech_the_face_alone_tells_less(model):
    slow = waves(8.0)
    found = moment_expression(model, geometry_of(slow + 3), random_style(), None)
    assert not found.is_against_speech and found.report(1.0)["told_from"] == "the face alone"
    inner = slice(50, -50)
    share = (found.values[inner] * slow[inner]).sum() / (slow[inner] ** 2).sum()
    assert 0.6 * FACE_ALONE < share < 1.1 * FACE_ALONE


def test_a_cut_and_a_lost_face_are_borders(model):
    geometry = geometry_of(np.zeros((100, CONFIG.expression_dim), np.float32))
    geometry.translation[60:] += 30
    geometry.valid[20:40] = False
    assert segments_of(geometry) == [slice(0, 40), slice(40, 60), slice(60, 100)]
    residual = np.ones((100, CONFIG.expression_dim))
    residual[60:] = -1
    slow = low_pass(residual, geometry, model.closure, Filter(aperture_s=0, shape_s=1.0))
    assert (slow[45:60] > 0.5).all() and (slow[60:] < -0.5).all()
    assert np.abs(slow[:40]).max() <= 1.01


def test_frames_without_a_face_have_no_say(model):
    geometry = geometry_of(np.zeros((60, CONFIG.expression_dim), np.float32))
    geometry.valid[28:31] = False
    residual = np.ones((60, CONFIG.expression_dim))
    clean = low_pass(residual, geometry, model.closure, Filter())
    residual[28:31] = 1e3
    np.testing.assert_array_equal(low_pass(residual, geometry, model.closure, Filter()), clean)


def test_the_two_parts_are_the_gap_and_all_else(shipped, face_model):
    residual = np.random.default_rng(0).normal(size=(20, face_model.num_speech)).astype(np.float32)
    part = aperture_part(residual, shipped.closure)
    basis = lip_gaps(face_model.speech_basis)
    gaps = lip_gaps(face_model.mean)
    whole, own, rest = (driven_gaps(x, gaps, basis) - gaps for x in (residual, part, residual - part))
    np.testing.assert_allclose(own, whole, atol=2e-3)
    assert np.abs(rest).max() < 2e-3


def test_lips_close_whatever_the_expression(shipped, face_model):
    still = np.zeros((4, face_model.num_expression), np.float32)
    style = style_of(still, np.ones(4, bool), face_model.mean, face_model)
    open_mouth = torch.zeros(1, face_model.num_speech)
    gap_basis = lip_gaps(face_model.speech_basis)
    wanted = np.tile(np.array([0.0, 0.06, 0.0]), (3, 1)).ravel()
    open_mouth[0] = torch.from_numpy((wanted @ shipped.closure.parting.numpy()).astype(np.float32))
    before = driven_aperture(open_mouth.numpy(), face_model.mean, face_model)[0]
    closed = shipped.closure.close(open_mouth, torch.ones(1), style).numpy()
    after = driven_aperture(closed, face_model.mean, face_model)[0]
    assert before > 0.03 and after == pytest.approx(CLOSED_IOD, abs=TOLERANCE_IOD)
    assert gap_aperture(driven_gaps(closed, lip_gaps(face_model.mean), gap_basis)).item() == pytest.approx(after)


def test_the_moment_moves_the_mouth_at_rest(model):
    style, times = random_style(), torch.arange(50) / 25
    features = speech(2.0)
    silent = type(features)(values=features.values, level_db=torch.full_like(features.level_db, -100.0))
    moment = torch.full((50, CONFIG.expression_dim), 0.25)
    resting = predict_expression(model, silent, times, style)
    torch.testing.assert_close(predict_expression(model, silent, times, style, moment=moment), resting + moment)
