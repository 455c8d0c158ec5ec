"""Lip closure: at the right frames, by the most probable motion, and none from an untrained head."""

from __future__ import annotations

import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER, load_config, load_into
from personatalk.geometry.face_model import LIP_PAIRS, FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.lip_closure import CLOSED_IOD, TOLERANCE_IOD, ClosureHead
from personatalk.geometry_construction.model import GeometryModel
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
    head.set_face(metric.gap_basis / PERCENT, metric.gram, covariance(face_model))
    return head


def covariance(face_model):
    """Of mouths whose coefficients depend on each other."""
    mixing = torch.randn(face_model.num_speech, face_model.num_speech, generator=torch.Generator().manual_seed(2))
    return (mixing @ mixing.T / len(mixing) + 0.1 * torch.eye(len(mixing))).double()


@pytest.fixture
def style(face_model):
    points = (len(STYLE_VERTICES), 3)
    return Style(
        mean=torch.zeros(face_model.num_speech), deviation=torch.ones(face_model.num_speech),
        rest=torch.zeros(face_model.num_speech),
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
    torch.testing.assert_close(after[1], torch.tensor(CLOSED_IOD), atol=TOLERANCE_IOD, rtol=0.0)
    torch.testing.assert_close(after[-1], (before[-1] + CLOSED_IOD) / 2, atol=TOLERANCE_IOD, rtol=0.02)


def test_lips_that_are_nearer_than_closed_ones_stay(head, style, face_model):
    shut = head.close(random_mouths(face_model), torch.ones(9), style)
    for _ in range(5):
        shut = shut - 0.5 * head.gaps(shut, style).flatten(1) @ head.closing
    assert head.aperture(shut, style).max() < CLOSED_IOD
    torch.testing.assert_close(head.close(shut, torch.ones(9), style), shut)


def test_no_change_that_closes_the_lips_is_more_probable(head, style, face_model):
    """Any other change that does the same to the gaps is less so."""
    mouths = random_mouths(face_model, 1)
    change = (head.close(mouths, torch.ones(1), style) - mouths).double()
    gaps = head.gap_basis.double().flatten(1)
    precision = torch.linalg.inv(covariance(face_model))
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        free = torch.randn(1, face_model.num_speech, generator=generator, dtype=torch.float64)
        free = free - free @ gaps @ torch.linalg.pinv(gaps)  # moves no gap
        for size in (-0.1, 0.1):
            other = change + size * free
            assert (other @ precision * other).sum() > (change @ precision * change).sum()


def test_lips_part_by_the_least_motion(head, face_model):
    """Any other change that does the same to the gaps moves the face more."""
    metric, wanted = SpeechMetric.of(face_model), torch.tensor([0.0, 0.05, 0.0]).repeat(3)
    change = wanted @ head.parting
    torch.testing.assert_close(change @ head.gap_basis.flatten(1), wanted, atol=1e-5, rtol=1e-3)
    gaps = head.gap_basis.flatten(1)
    free = torch.randn(face_model.num_speech, generator=torch.Generator().manual_seed(1))
    free = free - free @ gaps @ torch.linalg.pinv(gaps)  # moves no gap
    for size in (-0.1, 0.1):
        assert metric.squared(change + size * free) > metric.squared(change)


def test_the_shipped_closing_is_what_people_do(face_model):
    """The jaw takes part: lips that close by as little motion as possible would leave the first coefficient alone."""
    model = GeometryModel(load_config(GeometryModelConfig, DEFAULT_FOLDER / "geometry.json"))
    load_into(model, DEFAULT_FOLDER / "geometry.safetensors")
    shut = torch.tensor([0.0, -0.05, 0.0]).repeat(3) @ model.closure.closing
    gaps = shut @ model.closure.gap_basis.flatten(1)
    torch.testing.assert_close(gaps[1::3], torch.full((3,), -0.05), atol=TOLERANCE_IOD, rtol=0.0)
    assert shut[0] < -0.4
    assert shut.abs().max() < 1.0


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
