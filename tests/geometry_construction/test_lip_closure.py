"""Lip closure: at the right frames, by as little motion as possible, and none from an untrained head."""

from __future__ import annotations

import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_model import LIP_PAIRS, FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.lip_closure import RESIDUAL_GAP, ClosureHead
from personatalk.geometry_construction.style import STYLE_VERTICES, Style
from personatalk.training.geometry_construction.losses import PERCENT, SpeechMetric
from personatalk.training.geometry_construction.readouts import fit_closure


@pytest.fixture(scope="module")
def face_model():
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


@pytest.fixture
def head(face_model):
    metric = SpeechMetric.of(face_model)
    head = ClosureHead(dim=5, expression_dim=face_model.num_speech)
    head.set_face(metric.gap_basis / PERCENT, metric.gram)
    return head


@pytest.fixture
def style(face_model):
    points = (len(STYLE_VERTICES), 3)
    return Style(
        mean=torch.zeros(face_model.num_speech), rest=torch.zeros(face_model.num_speech),
        vertex_mean=torch.zeros(points), vertex_deviation=torch.ones(points),
        template=torch.from_numpy(face_model.mean[list(STYLE_VERTICES)]),
    )  # fmt: skip


def random_mouths(face_model, count=9):
    return 0.5 * torch.randn(count, face_model.num_speech, generator=torch.Generator().manual_seed(0))


def test_the_aperture_is_that_of_the_face_model(head, style, face_model):
    mouths = random_mouths(face_model)
    expected = driven_aperture(mouths.numpy(), face_model.mean, face_model)
    torch.testing.assert_close(head.aperture(mouths, style), torch.from_numpy(expected), atol=1e-5, rtol=1e-4)


def test_closed_lips_are_closed_and_others_stay(head, style, face_model):
    mouths = random_mouths(face_model)
    strength = torch.tensor([0.0, 1.0] * 4 + [0.5])
    closed = head.close(mouths, strength, style)
    before, after = head.aperture(mouths, style), head.aperture(closed, style)
    torch.testing.assert_close(closed[0], mouths[0])
    torch.testing.assert_close(after[1], RESIDUAL_GAP * before[1], atol=1e-4, rtol=1e-2)
    torch.testing.assert_close(after[-1], (1 - 0.5 * (1 - RESIDUAL_GAP)) * before[-1], atol=1e-4, rtol=1e-2)


def test_closing_moves_the_face_least(head, style, face_model):
    """Any other change that does the same to the gaps costs more."""
    mouths, metric = random_mouths(face_model, 1), SpeechMetric.of(face_model)
    change = head.close(mouths, torch.ones(1), style) - mouths
    gaps = metric.gap_basis.flatten(1)
    free = torch.randn(1, face_model.num_speech, generator=torch.Generator().manual_seed(1))
    free = free - free @ gaps @ torch.linalg.pinv(gaps)  # moves no gap
    for size in (-0.1, 0.1):
        assert metric.squared(change + size * free) > metric.squared(change)


def test_an_untrained_head_closes_nothing(head, style, face_model):
    logits = head(torch.randn(9, 5), random_mouths(face_model), style)
    assert head.strength(logits).max() == 0


def test_it_learns_when_lips_are_closed(head, style, face_model):
    hidden = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    mouths = random_mouths(face_model, 400)
    closed = hidden[:, 0] > 0.5
    inputs = head.inputs(hidden, mouths, style)
    with torch.no_grad():
        fit_closure(head, inputs, closed)
        strength = head.strength(head(hidden, mouths, style))
    sure = (hidden[:, 0] - 0.5).abs() > 0.3
    assert strength[closed & sure].min() > 0.9 and strength[~closed & sure].mean() < 0.25


def test_each_gap_has_its_pair():
    assert len(LIP_PAIRS) == 3 and all(vertex in STYLE_VERTICES for pair in LIP_PAIRS for vertex in pair)
