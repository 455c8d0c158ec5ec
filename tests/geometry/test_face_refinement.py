"""Photometric refinement: landmarks that scatter are laid back on the skin, lips stay the tracker's."""

from __future__ import annotations

import numpy as np
import pytest
from painted_face import COUNT, errors, grey_windows, painted_scene, scatter

from personatalk.geometry.face_model import LIPS, NUM_VERTICES
from personatalk.geometry.face_refinement import landmark_steps, refine_geometry, vertex_trust
from personatalk.geometry.landmark_fitting import fit_track


@pytest.fixture(scope="module")
def scene():
    return painted_scene()


def test_scattered_landmarks_come_back_to_the_skin(scene):
    mesh, track, images = scene
    noisy = scatter(track, mesh, 1.2)
    geometry = fit_track(noisy, mesh.face_model)
    windows = grey_windows(geometry, images)
    refined = refine_geometry(noisy, geometry, windows, mesh)
    points = mesh.project(geometry.pose(0, geometry.template, windows.window_from_image[0]))[:NUM_VERTICES, :2]
    skin = np.flatnonzero(vertex_trust(points, np.ones((160, 192), bool), mesh) > 0.9)
    # what all frames share is no scatter: take each vertex' mean error away
    before, after = (np.diff(errors(g, track, mesh, skin), axis=0) for g in (geometry, refined))
    assert np.abs(after).mean() < 0.75 * np.abs(before).mean()


def test_a_fit_that_agrees_with_the_picture_stays(scene):
    mesh, track, images = scene
    geometry = fit_track(track, mesh.face_model)
    refined = refine_geometry(track, geometry, grey_windows(geometry, images), mesh)
    everything = np.arange(NUM_VERTICES)
    moved = errors(refined, track, mesh, everything) - errors(geometry, track, mesh, everything)
    assert np.abs(moved).mean() < 0.15


def test_lips_are_left_to_the_tracker(scene):
    mesh, track, images = scene
    noisy = scatter(track, mesh, 1.2)
    geometry = fit_track(noisy, mesh.face_model)
    steps = dict(landmark_steps(geometry, grey_windows(geometry, images), mesh))
    assert sorted(steps) == list(range(COUNT))
    assert all(not step[list(LIPS)].any() for step in steps.values())
    assert np.mean([np.abs(step).max() for step in steps.values()]) > 0.5


def test_on_bare_skin_without_texture_nothing_moves(scene):
    mesh, track, images = scene
    geometry = fit_track(track, mesh.face_model)
    flat = [np.full_like(image, 120) for image in images]
    steps = landmark_steps(geometry, grey_windows(geometry, flat), mesh)
    assert max(np.abs(step).max() for _, step in steps) < 0.01


def test_windows_are_small_and_nearly_what_was_put_in(scene):
    mesh, track, images = scene
    geometry = fit_track(track, mesh.face_model)
    windows = grey_windows(geometry, images[:3])
    assert len(windows) == 3 and windows[2].shape == (160, 192)
    assert sum(map(len, windows._encoded)) < 3 * 16_000
    again = grey_windows(geometry, images[:3])
    assert np.array_equal(windows[1], again[1])
