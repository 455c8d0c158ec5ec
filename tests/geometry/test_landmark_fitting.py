"""Hybrid geometry estimation: known geometry comes back, smoothing calms without flattening, bad input is refused."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import NoFaceError
from personatalk.geometry.face_model import LIPS, FaceModel, HeadVertices
from personatalk.geometry.landmark_fitting import fit_track, procrustes, smooth_over_time, split_segments
from personatalk.geometry.mouth import apertures_of, lip_aperture, lip_descriptors
from personatalk.geometry.tracking import FaceTrack


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


def make_track(
    face_model: FaceModel, noise_px: float, num_frames: int = 60
) -> tuple[FaceTrack, np.ndarray, np.ndarray]:
    """A talking face of known geometry: track, head vertices [T, V, 3], turns [T, 3]."""
    rng = np.random.default_rng(0)
    time = np.arange(num_frames) / 25
    template = face_model.mean + np.tensordot(rng.normal(size=8), face_model.shape_basis[:8], 1)
    expression = np.zeros((num_frames, face_model.num_expression))
    expression[:, 0] = 1.5 * np.maximum(np.sin(2 * np.pi * 3 * time), 0)
    expression[:, 1] = np.sin(2 * np.pi * 1.7 * time)
    head = face_model.vertices(template, expression)
    turns = np.stack([0.1 * np.sin(time), 0.3 * np.sin(0.7 * time), 0.1 * np.cos(time)], 1)
    rotated = np.einsum("tij,tvj->tvi", Rotation.from_rotvec(turns).as_matrix(), head)
    points = np.zeros((num_frames, 478, 3), np.float32)
    points[:, :468] = rotated * 90 + np.array((200, 180, 0)) + rng.normal(size=rotated.shape) * noise_px
    track = FaceTrack(landmarks=points, detected=np.ones(num_frames, bool), times=time, width=400, height=400)
    return track, head, turns


def test_known_geometry_comes_back(face_model):
    track, head, _ = make_track(face_model, noise_px=0.3)
    geometry = fit_track(track, face_model)
    fitted = geometry.project(face_model.vertices(geometry.template, geometry.expression))
    error = np.linalg.norm((fitted - track.landmarks[:, :468])[..., :2], axis=-1) / geometry.scale[:, None]
    assert error[:, list(LIPS)].mean() < 0.01
    true_opening = lip_aperture(head)
    opening = lip_aperture(face_model.vertices(geometry.template, geometry.expression))
    assert np.corrcoef(opening, true_opening)[0, 1] > 0.97
    assert opening.std() / true_opening.std() == pytest.approx(1, abs=0.1)


def test_optimisation_calms_the_pose(face_model):
    track, _, _ = make_track(face_model, noise_px=2.0)
    geometry = fit_track(track, face_model)
    raw, _, _ = procrustes(geometry.template, track.landmarks[:, :468].astype(float), np.full(468, 1 / 468))

    def jitter(rotation: np.ndarray) -> float:
        return np.abs(np.diff(Rotation.from_matrix(rotation).as_rotvec(), 2, axis=0)).mean()

    assert jitter(geometry.rotation) < 0.5 * jitter(raw)


@pytest.mark.parametrize("block", [1, 7])
def test_blocks_of_frames_do_not_change_the_fit(face_model, monkeypatch, block):
    track, _, _ = make_track(face_model, noise_px=0.5)
    track.detected[30] = False
    whole = fit_track(track, face_model)
    monkeypatch.setattr("personatalk.geometry.face_model.BLOCK_FRAMES", block)
    for name, value in vars(fit_track(track, face_model)).items():
        np.testing.assert_allclose(value, getattr(whole, name), atol=1e-4, err_msg=name)


def test_fitting_holds_a_block_of_a_long_track(face_model):
    """What grows with the clip is its coefficients, not its vertices."""
    track, _, _ = make_track(face_model, noise_px=0.5)
    peaks = []
    for times in (30, 60):
        count = times * len(track)
        longer = FaceTrack(
            landmarks=np.tile(track.landmarks, (times, 1, 1)), detected=np.ones(count, bool),
            times=np.arange(count) / 25, width=400, height=400,
        )  # fmt: skip
        tracemalloc.start()
        fit_track(longer, face_model)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.5 * (longer.landmarks.nbytes - track.landmarks.nbytes * 30)


def test_vertices_on_demand_are_those_computed_at_once(face_model):
    expression = np.random.default_rng(0).normal(size=(600, face_model.num_expression)).astype(np.float32)
    whole = face_model.vertices(face_model.mean, expression)
    lazy = HeadVertices(face_model, face_model.mean, expression)
    for frames in (3, slice(10, 20), [1, 599], slice(None)):
        np.testing.assert_allclose(lazy[frames], whole[frames], atol=1e-5)
    np.testing.assert_allclose(apertures_of(lazy), lip_aperture(whole), atol=1e-5)
    turns = np.tile(np.eye(3, dtype=np.float32), (600, 1, 1))
    np.testing.assert_allclose(
        lip_descriptors(lazy, face_model.mean, turns), lip_descriptors(whole, face_model.mean, turns), atol=1e-5
    )


def test_procrustes_undoes_any_similarity(face_model):
    rotation = Rotation.from_euler("xyz", (0.2, -0.5, 0.1)).as_matrix()
    points = (face_model.mean @ rotation.T * 37 + (5, -3, 8))[None].astype(float)
    found, scale, translation = procrustes(face_model.mean, points, np.full(468, 1 / 468))
    np.testing.assert_allclose(found[0], rotation, atol=1e-5)
    assert scale[0] == pytest.approx(37, rel=1e-5)
    np.testing.assert_allclose(translation[0], (5, -3, 8), atol=1e-3)


def test_smoothing_keeps_lines_and_does_not_cross_cuts():
    times = np.arange(40) / 25
    line = np.stack([np.arange(40.0), -3 * np.arange(40.0)], 1)
    np.testing.assert_allclose(smooth_over_time(line, 50.0, times, [slice(0, 40)]), line, atol=1e-6)
    step = (np.arange(40.0) >= 20)[:, None].astype(float)
    apart = smooth_over_time(step, 50.0, times, [slice(0, 20), slice(20, 40)])
    np.testing.assert_allclose(apart, step, atol=1e-9)


def test_smoothing_matches_the_dense_solution():
    values = np.random.default_rng(1).normal(size=(30, 2))
    difference = np.diff(np.eye(30), 2, axis=0)
    expected = np.linalg.solve(np.eye(30) + 3.0 * difference.T @ difference, values)
    np.testing.assert_allclose(smooth_over_time(values, 3.0, np.arange(30) / 25, [slice(0, 30)]), expected, atol=1e-9)


def test_a_jump_is_a_cut():
    points = np.zeros((20, 5, 3))
    points[12:, :, 0] = 500
    shot = np.zeros(20, int)
    assert split_segments(points, np.arange(20) / 25, np.full(20, 90.0), shot) == [slice(0, 12), slice(12, 20)]


def test_the_end_of_a_shot_is_a_cut_even_where_the_face_stays_in_its_place():
    points, shot = np.zeros((20, 5, 3)), np.repeat((0, 1), (7, 13))
    assert split_segments(points, np.arange(20) / 25, np.full(20, 90.0), shot) == [slice(0, 7), slice(7, 20)]


def test_a_clip_without_a_face_is_refused(face_model):
    missing = FaceTrack(
        landmarks=np.full((9, 478, 3), np.nan, np.float32), detected=np.zeros(9, bool), times=np.arange(9) / 25,
        width=64, height=64,
    )  # fmt: skip
    with pytest.raises(NoFaceError, match="0 of 9 frames"):
        fit_track(missing, face_model)


def test_lost_frames_take_the_nearest_pose(face_model):
    track, _, _ = make_track(face_model, noise_px=0.1)
    track.detected[20:23] = False
    track.landmarks[20:23] = np.nan
    geometry = fit_track(track, face_model)
    assert not geometry.valid[20:23].any() and geometry.valid.sum() == 57
    np.testing.assert_array_equal(geometry.translation[20], geometry.translation[19])
