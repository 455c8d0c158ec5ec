"""Metrics by hand: images, geometry over time, identity."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk import metrics
from personatalk.geometry.face_model import LIP_PAIRS, LIPS
from personatalk.metrics.perceptual import Lpips


def face(opening: np.ndarray) -> np.ndarray:
    """[T, 468, 3] all at 0, the lower of the middle lip pairs moved down by opening [T]."""
    vertices = np.zeros((len(opening), 468, 3))
    vertices[:, [lower for _, lower in LIP_PAIRS], 1] = opening[:, None]
    return vertices


def test_psnr_of_a_known_error():
    truth = np.zeros((4, 4, 3))
    assert metrics.psnr(truth + 25.5, truth) == pytest.approx(20.0)  # a tenth of the range
    assert metrics.psnr(truth, truth) == np.inf


def test_psnr_sees_the_mask_only():
    truth, mask = np.zeros((4, 4, 3)), np.zeros((4, 4))
    output = truth.copy()
    output[0, 0] = 255
    mask[1:, 1:] = 1
    assert metrics.psnr(output, truth, mask) == np.inf
    mask[0, 0] = 1  # one of ten places is wrong by everything
    assert metrics.psnr(output, truth, mask) == pytest.approx(10.0)


def test_psnr_over_nothing_is_refused():
    with pytest.raises(ValueError, match="empty mask"):
        metrics.psnr(np.zeros((2, 2, 3)), np.zeros((2, 2, 3)), np.zeros((2, 2)))


def test_lpips_looks_into_the_box_only():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 255, (1, 80, 80, 3)).astype(np.uint8)
    output = truth.copy()
    output[:, :10] = 0
    network = Lpips.load()
    assert metrics.lpips_distance(network, output, truth, (0, 12, 80, 80)) == pytest.approx(0, abs=1e-6)
    assert metrics.lpips_distance(network, output, truth, (0, 0, 80, 20)) > 0.05


def test_sharpness_ratio_is_the_square_of_the_contrast():
    truth = np.random.default_rng(0).uniform(0, 255, (16, 16, 3))
    mask = np.ones((16, 16), bool)
    assert metrics.sharpness_ratio(truth * 0.5, truth, mask) == pytest.approx(0.25, rel=1e-5)


def test_temporal_error_forgives_a_constant_but_not_a_flicker():
    truth = np.random.default_rng(0).uniform(0, 255, (5, 4, 4, 3))
    mask = np.ones((4, 4))
    assert metrics.temporal_error(truth + 9, truth, mask) == pytest.approx(0, abs=1e-4)
    flicker = truth + np.array((0, 3, 0, 3, 0.0))[:, None, None, None]
    assert metrics.temporal_error(flicker, truth, mask) == pytest.approx(3, rel=1e-5)


def test_seam_gradient_of_a_step():
    truth = np.tile(np.arange(8.0)[None, :, None], (8, 1, 3))  # rises by 1 a column
    mask = np.zeros((8, 8), bool)
    mask[:, 4:] = True
    assert metrics.seam_gradient_ratio(truth, truth, mask) == pytest.approx(1)
    assert metrics.seam_gradient_ratio(truth + 4.0 * mask[..., None], truth, mask) == pytest.approx(5)


def test_correlation_agrees_with_numpy_and_refuses_stillness():
    first, second = np.random.default_rng(0).normal(size=(2, 50))
    assert metrics.correlation(first, second) == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert np.isnan(metrics.correlation(first, np.ones(50)))


def test_openness_scores_of_a_halved_mouth():
    opening = np.abs(np.sin(np.arange(40) / 3))
    scores = metrics.aperture_scores(face(0.5 * opening), face(opening))
    assert scores == pytest.approx({"aperture_r": 1.0, "deviation_ratio": 0.5})


def test_lip_errors_of_a_shift_and_of_a_shake():
    truth = np.random.default_rng(0).normal(size=(6, 468, 3))
    moved = truth.copy()
    moved[:, list(LIPS)] += (3, 0, 4)
    moved[:, 10] += 100  # the forehead is no lip
    assert metrics.lip_vertex_error(moved, truth) == pytest.approx(5)
    assert metrics.lip_velocity_error(moved, truth) == pytest.approx(0, abs=1e-9)
    shaken = truth + np.array((0, 1, 0, 1, 0, 1.0))[:, None, None] * (0, 1, 0)
    assert metrics.lip_velocity_error(shaken, truth) == pytest.approx(1)


def test_jitter_ignores_even_motion():
    even = np.arange(10.0)[:, None] * (1, 2)
    assert metrics.jitter(even) == pytest.approx(0, abs=1e-12)
    assert metrics.jitter(np.array((0, 1, 0, 1.0))[:, None]) == pytest.approx(2)


@pytest.mark.parametrize("shift", [-4, 0, 3])
def test_best_lag_finds_the_shift(shift):
    series = np.random.default_rng(1).normal(size=60)
    output, truth = series[10 - shift : 50 - shift], series[10:50]
    lag, score = metrics.best_lag(output, truth, 6)
    assert lag == shift
    assert score == pytest.approx(1)


def test_identity_distance_by_hand():
    assert metrics.identity_distance(np.zeros((2, 128)), np.eye(128)[:2] * 3) == pytest.approx(3)
