"""Photometric refinement: landmarks that scatter are laid back on the skin, lips stay the tracker's."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from personatalk.evaluation.geometry import known_face
from personatalk.face_model import LIPS, NUM_VERTICES, FaceModel
from personatalk.fitting import fit_track
from personatalk.geometry_maps import FaceMesh
from personatalk.perceptual import CHECKPOINTS
from personatalk.rasterizer import interpolate, rasterize
from personatalk.registration import GreyWindows, landmark_steps, refine_geometry, vertex_trust

SIZE = 300
COUNT = 30


@pytest.fixture(scope="module")
def scene():
    """A face of known geometry under a texture, and its track."""
    face_model = FaceModel.load(CHECKPOINTS / "face_model.safetensors")
    known = known_face(face_model, noise_iod=0, seed=2)
    track = replace(
        known.track, landmarks=known.track.landmarks[:COUNT], detected=known.track.detected[:COUNT],
        times=known.track.times[:COUNT],
    )  # fmt: skip
    mesh = FaceMesh(face_model)
    return mesh, track, paint_face(mesh, fit_track(track, face_model))


def paint_face(mesh, geometry):
    texture = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32), (0, 0), 3)
    texture = 128 + 90 * texture / np.abs(texture).max()
    low, high = mesh.canonical[:, :2].min(0), mesh.canonical[:, :2].max(0)
    places = np.ascontiguousarray((mesh.canonical[:, :2] - low) / (high - low) * 255, np.float32)
    images, same = [], np.float32([[1, 0, 0], [0, 1, 0]])
    head = mesh.face_model.vertices(geometry.template, geometry.expression)
    for frame in range(len(geometry)):
        placed = mesh.place(head[frame], geometry, frame, same)
        index, barycentric = rasterize(placed, mesh.triangles, SIZE, SIZE)
        x, y = interpolate(index, barycentric, mesh.triangles, places)
        grey = np.where(index >= 0, cv2.remap(texture, x, y, cv2.INTER_LINEAR), 60).astype(np.uint8)
        images.append(np.repeat(grey[..., None], 3, -1))
    return images


def grey_windows(geometry, images):
    windows = GreyWindows(geometry)
    for image in images:
        windows.append(image)
    return windows


def scatter(track, mesh, amount_px):
    """Move the landmarks of each frame by a smooth field of its own."""
    random = np.random.default_rng(1)
    landmarks = track.landmarks.copy()
    x, y = mesh.face_model.mean[:, 0], mesh.face_model.mean[:, 1]
    for frame in range(len(landmarks)):
        phase = random.uniform(0, 2 * np.pi, 4)
        field = np.stack([np.sin(4 * y + phase[0]) + np.sin(4 * x + phase[1]), np.sin(4 * x + phase[2])], -1)
        landmarks[frame, :NUM_VERTICES, :2] += amount_px * field
    return replace(track, landmarks=landmarks)


def errors(geometry, track, mesh, vertices):
    """[T, V] px of the image."""
    head = mesh.face_model.vertices(geometry.template, geometry.expression)
    return np.linalg.norm(geometry.project(head)[:, vertices, :2] - track.landmarks[:, vertices, :2], axis=-1)


def test_scattered_landmarks_come_back_to_the_skin(scene):
    mesh, track, images = scene
    noisy = scatter(track, mesh, 1.2)
    geometry = fit_track(noisy, mesh.face_model)
    windows = grey_windows(geometry, images)
    refined = refine_geometry(noisy, geometry, windows, mesh)
    points = mesh.place(geometry.template, geometry, 0, windows.window_from_image[0])[:NUM_VERTICES, :2]
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
