"""Photometric registration: lips come back to where like mouths have them, and open as far as before."""

from __future__ import annotations

import numpy as np
import pytest
from painted_face import errors, grey_windows, painted_scene, scatter

from personatalk.geometry.face_model import LIPS
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.lip_refinement import (
    NUM_LIKE,
    TRACKER_WEIGHT,
    like_frames,
    reconcile,
    register_lips,
    registered_frames,
    without_opening,
)
from personatalk.geometry.mouth import lip_aperture


@pytest.fixture(scope="module")
def scene():
    return painted_scene()


def test_scattered_lips_come_back_to_the_skin(scene):
    mesh, track, images = scene
    geometry = fit_track(scatter(track, mesh, 1.2), mesh.face_model)
    registered = register_lips(geometry, grey_windows(geometry, images), mesh)
    # what all frames share is no scatter: take each vertex' mean error away
    before, after = (np.diff(errors(g, track, mesh, list(LIPS)), axis=0) for g in (geometry, registered))
    assert np.abs(after).mean() < 0.75 * np.abs(before).mean()


def test_lips_that_agree_with_the_picture_stay(scene):
    mesh, track, images = scene
    geometry = fit_track(track, mesh.face_model)
    registered = register_lips(geometry, grey_windows(geometry, images), mesh)
    moved = errors(registered, track, mesh, list(LIPS)) - errors(geometry, track, mesh, list(LIPS))
    assert np.abs(moved).mean() < 0.15


def test_pose_template_and_the_eyes_stay(scene):
    mesh, track, images = scene
    geometry = fit_track(scatter(track, mesh, 1.2), mesh.face_model)
    registered = register_lips(geometry, grey_windows(geometry, images), mesh)
    for name in ("template", "rotation", "translation", "scale", "valid", "times"):
        assert np.array_equal(getattr(registered, name), getattr(geometry, name))
    moved = errors(registered, track, mesh, [33, 263, 10]) - errors(geometry, track, mesh, [33, 263, 10])
    assert np.abs(moved).max() < 0.3


def test_corrections_that_close_wide_mouths_change_nothing(scene, monkeypatch):
    mesh, track, images = scene
    geometry = fit_track(track, mesh.face_model)
    opening = lip_aperture(mesh.face_model.vertices(geometry.template, geometry.expression))

    def closing(geometry, windows, mesh, frames, near, *, tick):
        towards_middle = mesh.face_model.mean[near, 1] - mesh.face_model.mean[list(LIPS), 1].mean()
        return np.stack([np.zeros((len(frames), near.sum())), np.multiply.outer(-opening, towards_middle) * 100], -1)

    monkeypatch.setattr("personatalk.geometry.lip_refinement.lip_corrections", closing)
    registered = register_lips(geometry, grey_windows(geometry, images), mesh)
    after = lip_aperture(mesh.face_model.vertices(registered.template, registered.expression))
    assert np.polyfit(opening, after, 1)[0] == pytest.approx(1, abs=0.02)


def test_frames_beyond_the_windows_keep_their_expression(scene):
    mesh, track, images = scene
    geometry = fit_track(scatter(track, mesh, 1.2), mesh.face_model)
    registered = register_lips(geometry, grey_windows(geometry, images[:20]), mesh)
    assert np.array_equal(registered.expression[20:], geometry.expression[20:])
    assert not np.array_equal(registered.expression[:20], geometry.expression[:20])


def test_like_frames_are_like_and_apart_in_time():
    rng = np.random.default_rng(0)
    descriptors, frames = rng.normal(size=(50, 3)), np.arange(100, 150)
    chosen, distance = like_frames(descriptors, frames, 2)
    assert chosen.shape == distance.shape == (50, NUM_LIKE)
    assert (np.abs(frames[chosen] - frames[:, None]) >= 2).all()
    np.testing.assert_allclose(distance, np.linalg.norm(descriptors[chosen] - descriptors[:, None], axis=-1))
    everything = np.linalg.norm(descriptors[:, None] - descriptors, axis=-1)
    everything[np.abs(frames[:, None] - frames) < 2] = np.inf
    np.testing.assert_allclose(distance[:, 0], everything.min(1))


def test_long_clips_are_registered_evenly():
    assert np.array_equal(registered_frames(np.array([True, False, True])), [0, 2])
    assert not len(registered_frames(np.zeros(5, bool)))
    frames = registered_frames(np.ones(4001, bool))
    assert len(frames) == 400 and frames[0] == 0 and frames[-1] == 4000
    assert set(np.diff(frames)) == {10, 11}


def test_three_frames_are_enough():
    chosen, distance = like_frames(np.array([[0.0], [1.0], [0.1]]), np.arange(3), 2)
    assert chosen.shape[1] == 1 and chosen[0, 0] == 2


def test_corrections_match_a_dense_least_squares_solution():
    rng = np.random.default_rng(0)
    others = np.array([[1, 2], [2, 3], [3, 0], [0, 1]])
    steps, weight = rng.normal(size=(4, 2, 3, 2)), rng.uniform(0.5, 2, (4, 2))
    rows, values = [], []
    for t in range(4):
        for k, other in enumerate(others[t]):
            row = np.zeros(4)
            row[t], row[other] = np.sqrt(weight[t, k]), -np.sqrt(weight[t, k])
            rows.append(row)
            values.append(np.sqrt(weight[t, k]) * steps[t, k].ravel())
    rows += list(np.sqrt(TRACKER_WEIGHT) * np.eye(4))
    values += [np.zeros(6)] * 4
    expected = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0].reshape(4, 3, 2)
    np.testing.assert_allclose(reconcile(steps, others, weight), expected, atol=1e-10)


def test_corrections_do_not_follow_the_openness():
    rng = np.random.default_rng(0)
    opening = rng.uniform(0, 0.2, 40)
    noise = rng.normal(size=(40, 5, 2))
    cleaned = without_opening(noise - 3 * opening[:, None, None], opening)
    np.testing.assert_allclose(cleaned, without_opening(noise, opening), atol=1e-9)
    assert np.abs(np.einsum("t,tnc->nc", opening - opening.mean(), cleaned)).max() < 1e-9
