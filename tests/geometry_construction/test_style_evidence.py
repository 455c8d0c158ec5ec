"""Style evidence: a still mouth says nothing of a person's amplitude, speech does, and rest is always the person's."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.geometry_construction.style import Style, style_of
from personatalk.geometry_construction.style_evidence import about_rest, mouth_motion, speaking_style

RATE = 25.0
SHIFTED = 5  # a coefficient that hardly opens the mouth


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


def opening(face_model: FaceModel) -> np.ndarray:
    """[K] speech coefficients that open the mouth by .1 IOD, by the coefficient that opens it most."""
    steps = np.concatenate([3 * np.eye(face_model.num_speech), -3 * np.eye(face_model.num_speech)]).astype(np.float32)
    apertures = driven_aperture(steps, face_model.mean, face_model)
    widest = steps[apertures.argmax()]
    shares = np.linspace(0, 2, 401, dtype=np.float32)
    grown = driven_aperture(shares[:, None] * widest, face_model.mean, face_model)
    return shares[np.abs(grown - grown[0] - 0.1).argmin()] * widest


def clip_of(face_model: FaceModel, amount: np.ndarray, shift: float = 0.0) -> FaceGeometry:
    """A clip whose mouth opens by `amount` [T] about a rest that differs from the template."""
    count = len(amount)
    expression = np.zeros((count, face_model.num_expression), np.float32)
    expression[:, : face_model.num_speech] = amount[:, None] * opening(face_model)
    expression[:, SHIFTED] += shift
    return FaceGeometry(
        template=face_model.mean, expression=expression, rotation=np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
        translation=np.zeros((count, 2), np.float32), scale=np.ones(count, np.float32), valid=np.ones(count, bool),
        times=np.arange(count) / RATE,
    )  # fmt: skip


def speaking(seconds: float) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(np.arange(int(seconds * RATE)) * 1.1)


def average(face_model: FaceModel) -> Style:
    clip = clip_of(face_model, speaking(4))
    return style_of(clip.expression, clip.valid, clip.template, face_model)


def test_a_shut_mouth_is_no_evidence_of_a_small_amplitude(face_model):
    shut = clip_of(face_model, np.zeros(100), shift=0.7)
    style, evidence = speaking_style(shut, face_model, average(face_model))
    assert evidence.speech_s == 0 and evidence.share == 0 and evidence.told_from == "motion"
    torch.testing.assert_close(style.vertex_deviation, average(face_model).vertex_deviation)
    rest = torch.from_numpy(shut.expression[0, : face_model.num_speech])
    torch.testing.assert_close(style.rest, rest)
    usual = average(face_model)
    torch.testing.assert_close(style.mean - style.rest, usual.mean - usual.rest)


def test_more_speech_counts_more(face_model):
    small = 0.6 * speaking(12)
    whole = style_of(clip_of(face_model, small).expression, np.ones(len(small), bool), face_model.mean, face_model)
    distances, seconds = [], []
    for length in (0.4, 2, 12):
        clip = clip_of(face_model, small[: int(length * RATE)])
        style, evidence = speaking_style(clip, face_model, average(face_model))
        distances.append(float((style.vertex_deviation - whole.vertex_deviation).norm()))
        seconds.append(evidence.speech_s)
        assert evidence.share == pytest.approx(evidence.speech_s / (evidence.speech_s + 0.5))
    assert distances[0] > distances[1] > distances[2]
    assert seconds == pytest.approx([0.4, 2, 12], rel=0.1)


def test_silent_stretches_do_not_dilute_the_style(face_model):
    spoken, pause = speaking(4), np.zeros(200)
    alone, _ = speaking_style(clip_of(face_model, spoken), face_model, average(face_model))
    diluted, evidence = speaking_style(
        clip_of(face_model, np.concatenate([spoken, pause])), face_model, average(face_model)
    )
    assert evidence.speech_s == pytest.approx(4, abs=0.4)
    torch.testing.assert_close(diluted.vertex_deviation, alone.vertex_deviation, atol=2e-3, rtol=0.1)


def test_frames_without_own_speech_do_not_count_where_sound_tells(face_model):
    clip = clip_of(face_model, speaking(8))
    gate = (clip.times < 2).astype(float)
    _, evidence = speaking_style(clip, face_model, average(face_model), gate)
    assert evidence.told_from == "own speech" and evidence.speech_s == pytest.approx(2, abs=0.1)


def test_frames_without_a_face_do_not_count(face_model):
    clip = clip_of(face_model, speaking(4))
    hidden = replace(clip, valid=clip.times < 1)
    assert speaking_style(hidden, face_model, average(face_model))[1].speech_s == pytest.approx(1, abs=0.1)
    assert (mouth_motion(replace(clip, valid=np.zeros(len(clip), bool)), face_model) == 0).all()


def test_average_about_the_same_rest_is_the_average(face_model):
    usual = average(face_model)
    for field in fields(Style):
        torch.testing.assert_close(
            getattr(about_rest(usual, usual, face_model), field.name), getattr(usual, field.name)
        )


def test_the_report_is_json(face_model):
    report = speaking_style(clip_of(face_model, speaking(2)), face_model, average(face_model))[1].report()
    assert json.loads(json.dumps(report)).keys() == {"speech_s", "own_share", "told_from"}
