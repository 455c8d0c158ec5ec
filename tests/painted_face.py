"""A face of known geometry under a texture that moves with the skin, and its track: tests of registration."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.geometry.face_model import NUM_VERTICES, FaceModel
from personatalk.geometry.face_refinement import GreyWindows
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.rasterizer import interpolate, rasterize

SIZE = 300
COUNT = 30


def painted_scene():
    """Return mesh, track and images."""
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    known = known_face(face_model, noise_iod=0, seed=2)
    track = replace(
        known.track, landmarks=known.track.landmarks[:COUNT], detected=known.track.detected[:COUNT],
        times=known.track.times[:COUNT], shot=known.track.shot[:COUNT], light=known.track.light[:COUNT],
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
        projected = mesh.project(geometry.pose(frame, head[frame], same))
        index, barycentric = rasterize(projected, mesh.triangles, SIZE, SIZE)
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
