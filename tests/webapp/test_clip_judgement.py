"""What is said of a clip follows from its geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import lip_aperture
from personatalk.webapp.clip_judgement import LITTLE_OPEN_IOD, ClipFacts

pytestmark = pytest.mark.weights
NUM_FRAMES = 40


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


def seen(face_model: FaceModel, *, turn_deg: float = 0.0, opening: float = 0.0, scale: float = 80.0) -> FaceGeometry:
    """A face that looks so far aside, and opens its mouth by up to so many deviations."""
    expression = np.zeros((NUM_FRAMES, face_model.num_expression), np.float32)
    apertures = lip_aperture(face_model.vertices(face_model.mean, np.eye(expression.shape[1], dtype=np.float32)))
    expression[:, apertures.argmax()] = opening * np.linspace(0, 1, NUM_FRAMES)
    return FaceGeometry(
        template=face_model.mean,
        expression=expression,
        rotation=np.stack([Rotation.from_euler("y", turn_deg, degrees=True).as_matrix()] * NUM_FRAMES),
        translation=np.zeros((NUM_FRAMES, 2)),
        scale=np.full(NUM_FRAMES, scale),
        valid=np.ones(NUM_FRAMES, bool),
        times=np.arange(NUM_FRAMES) / 25,
    )


@pytest.mark.parametrize("turn_deg", [-40.0, 0.0, 25.0])
def test_the_turn_of_the_head_is_measured_to_either_side(face_model, turn_deg):
    geometry = seen(face_model, turn_deg=turn_deg)
    facts = ClipFacts.of(geometry, geometry, face_model)
    assert facts.turn_deg == pytest.approx(abs(turn_deg), abs=0.1)
    assert any("turned" in text for text in facts.warnings()) == (abs(turn_deg) > 30)


def test_a_mouth_that_stays_shut_and_a_small_face_are_named(face_model):
    shut, open_ = seen(face_model, scale=20.0), seen(face_model, opening=6.0)
    facts = ClipFacts.of(shut, shut, face_model)
    assert facts.open_iod < LITTLE_OPEN_IOD and 20 < facts.face_px < 60
    assert len(facts.warnings()) == 2
    helped = ClipFacts.of(
        replace(shut, scale=np.full(NUM_FRAMES, 80.0)), open_, face_model
    )  # another clip's references
    assert helped.open_iod > LITTLE_OPEN_IOD and helped.warnings() == []
