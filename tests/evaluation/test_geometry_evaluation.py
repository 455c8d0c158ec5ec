"""Geometry estimation judged on faces whose geometry is known."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest
from painted_face import grey_windows, painted_scene, scatter

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import AdapterError
from personatalk.evaluation.geometry.fitting import fitting_figures
from personatalk.evaluation.geometry.known_faces import known_face, round_trip_figures
from personatalk.evaluation.geometry.refinement import evaluate_refinement, refined_figures, warped_figures
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.evaluation.rendering.windows import cut_windows
from personatalk.geometry.face_model import LIPS, FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.lip_refinement import register_lips


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


def test_frames_warped_by_better_geometry_agree_better():
    mesh, track, images = painted_scene()
    wrong = fit_track(scatter(track, mesh, 1.2), mesh.face_model)
    seen = cut_windows(images, wrong, mesh)
    right = fit_track(track, mesh.face_model)
    better = register_lips(wrong, grey_windows(wrong, images), mesh)
    by_wrong, by_better, by_right = (warped_figures(seen, geometry, mesh) for geometry in (wrong, better, right))
    assert by_right["psnr_lips"] > by_wrong["psnr_lips"] + 3
    assert by_right["psnr_lips"] > by_better["psnr_lips"] > by_wrong["psnr_lips"]
    assert by_right["psnr_lower_face"] > by_wrong["psnr_lower_face"]


@pytest.mark.slow
@pytest.mark.pytorch3d
def test_every_refinement_is_judged():
    mesh, track, images = painted_scene()
    figures = refined_figures(scatter(track, mesh, 1.2), images, mesh.face_model)
    assert list(figures) == ["none", "flow", "photometric"]
    assert figures["flow"]["psnr_lips"] > figures["none"]["psnr_lips"]
    assert figures["photometric"]["psnr_lips"] > figures["none"]["psnr_lips"]


def test_the_comparison_needs_pytorch3d(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pytorch3d" else found(name))
    inputs = EvaluationInputs(data=tmp_path, manifest=tmp_path, corpus=tmp_path, checkpoints=DEFAULT_FOLDER)
    with pytest.raises(AdapterError, match="needs PyTorch3D"):
        evaluate_refinement(inputs)
