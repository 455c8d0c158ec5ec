"""Geometry estimation judged on faces whose geometry is known."""

from __future__ import annotations

import dataclasses

import pytest

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.geometry.fitting import fitting_figures
from personatalk.evaluation.geometry.known_faces import known_face, round_trip_figures
from personatalk.geometry.face_model import LIPS, FaceModel
from personatalk.geometry.landmark_fitting import fit_track


@pytest.fixture(scope="module")
def face_model():
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


def test_a_known_face_survives_the_round_trip(face_model):
    clean = round_trip_figures(known_face(face_model, noise_iod=0, seed=0), face_model)
    noisy = round_trip_figures(known_face(face_model, noise_iod=0.02, seed=0), face_model)
    assert clean["lips_%"] < 1
    assert clean["rotation_error_deg"] < 0.5
    assert clean["aperture_r"] > 0.99
    assert noisy["lips_%"] > clean["lips_%"]


def test_fitting_figures_see_a_wrong_lip_and_a_calmer_pose(face_model):
    face = known_face(face_model, noise_iod=0.01, seed=1)
    geometry = fit_track(face.track, face_model)
    figures = fitting_figures(face.track, geometry, face_model)
    assert figures["rotation_jitter_after_deg"] < 0.5 * figures["rotation_jitter_before_deg"]
    moved = face.track.landmarks.copy()
    moved[:, list(LIPS), 0] += 0.1 * geometry.scale.mean()
    wrong = fitting_figures(dataclasses.replace(face.track, landmarks=moved), geometry, face_model)
    assert wrong["lips_%"] == pytest.approx(10, abs=1)
    assert wrong["face_%"] < wrong["lips_%"] / 3
