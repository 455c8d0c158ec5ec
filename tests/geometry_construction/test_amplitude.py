"""Predicted mouths articulate as far as the person does, and open as far as predicted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_lip_closure import covariance, face_model, head, style  # noqa: F401 (fixtures)

from personatalk.geometry_construction.amplitude import MAX_GAIN, Amplitude
from personatalk.geometry_construction.lip_closure import TOLERANCE_IOD

LONG_S = 1e6  # so much speech that the prior is without weight
FRAMES = 500


@pytest.fixture
def mouths(face_model):  # noqa: F811
    """Coefficients whose deviations are all one, about a mean of their own."""
    random = torch.Generator().manual_seed(0)
    values = torch.randn(FRAMES, face_model.num_speech, generator=random)
    values = (values - values.mean(0)) / values.std(0, correction=0)
    return 0.3 * values + torch.randn(face_model.num_speech, generator=random)


@pytest.fixture
def wide(style, face_model):  # noqa: F811
    """A style that moves each coefficient by another amount, .7 to 1.7 times as far as the mouths do."""
    return replace(style, deviation=0.3 * torch.linspace(0.7, 1.7, face_model.num_speech))


def match_amplitude(mouths, weight, seconds, style, head):  # noqa: F811
    return Amplitude.measure(mouths, weight, seconds, style).match(mouths, style, head)


def all_speech() -> torch.Tensor:
    return torch.ones(FRAMES)


def still_gaps(head):  # noqa: F811
    """A head whose gaps nothing moves."""
    head.closing.zero_()
    return head


def test_each_coefficient_gets_the_deviation_of_the_style(head, mouths, wide):  # noqa: F811
    matched = match_amplitude(mouths, all_speech(), LONG_S, wide, still_gaps(head))
    torch.testing.assert_close(matched.std(0, correction=0), wide.deviation, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(matched.mean(0), mouths.mean(0), atol=1e-4, rtol=1e-3)


def test_lips_open_as_predicted(head, mouths, wide):  # noqa: F811
    matched = match_amplitude(mouths, all_speech(), LONG_S, wide, head)
    torch.testing.assert_close(head.gaps(matched, wide), head.gaps(mouths, wide), atol=2 * TOLERANCE_IOD, rtol=0.02)
    assert (matched - mouths).abs().max() > 0.1


def test_little_speech_changes_little(head, mouths, wide):  # noqa: F811
    changes = [
        (match_amplitude(mouths, all_speech(), seconds, wide, head) - mouths).abs().mean() for seconds in (0, 0.2, 4)
    ]
    assert changes[0] < 1e-6 < changes[1] < 0.3 * changes[2]


def test_frames_without_speech_do_not_count(head, mouths, wide):  # noqa: F811
    silence = torch.cat([mouths, mouths.mean(0).expand(FRAMES, -1)])
    weight = torch.cat([all_speech(), torch.zeros(FRAMES)])
    torch.testing.assert_close(
        match_amplitude(silence, weight, LONG_S, wide, head)[:FRAMES],
        match_amplitude(mouths, all_speech(), LONG_S, wide, head),
        atol=1e-5, rtol=1e-4,
    )  # fmt: skip


def test_a_gain_is_bounded(head, mouths, style):  # noqa: F811
    huge = replace(style, deviation=torch.full_like(style.deviation, 100.0))
    matched = match_amplitude(mouths, all_speech(), LONG_S, huge, still_gaps(head))
    torch.testing.assert_close(matched.std(0), MAX_GAIN * mouths.std(0), atol=1e-3, rtol=1e-3)


def test_a_mouth_that_does_not_move_stays(head, style):  # noqa: F811
    still = torch.full((FRAMES, len(style.deviation)), 0.2)
    torch.testing.assert_close(match_amplitude(still, all_speech(), LONG_S, style, head), still, atol=1e-5, rtol=1e-4)
