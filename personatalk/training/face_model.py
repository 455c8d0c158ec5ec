"""Learn the face model from tracked clips: mean, shape basis, expression basis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarksConnections

from personatalk.geometry.face_model import (
    EYE_CORNERS,
    LIPS,
    NUM_VERTICES,
    FaceModel,
    mouth_triangles,
    speech_weight,
    stability_weight,
)
from personatalk.geometry.landmark_fitting import REST_SHARE, procrustes, unpose
from personatalk.geometry.mouth import lip_aperture

FRAMES_PER_CLIP = 16
MAX_CLIPS_PER_PERSON = 6
LIP_VARIANCE_WEIGHT = 3.0  # of a lip vertex in the expression basis, beside 1 for any other


def load_points(track_paths: list[Path]) -> list[np.ndarray]:
    """Read a few frames of each track: a list of [n, V, 3] px."""
    clips = []
    for path in track_paths:
        with np.load(path) as track:
            found = np.flatnonzero(track["detected"])
            if len(found) < FRAMES_PER_CLIP:
                continue
            chosen = found[np.linspace(0, len(found) - 1, FRAMES_PER_CLIP).astype(int)]
            clips.append(track["landmarks"][chosen, :NUM_VERTICES].astype(np.float64))
    return clips


def upright_mean(clips: list[np.ndarray]) -> np.ndarray:
    """Align all clips to their mean and turn it into head space: [V, 3] IOD."""
    mean = to_head_space(clips[0][0])
    for _ in range(4):
        weight = stability_weight(mean)
        aligned = [unpose(points, *procrustes(mean, points, weight)).mean(0) for points in clips]
        mean = to_head_space(np.mean(aligned, 0))
    return mean


def to_head_space(points: np.ndarray) -> np.ndarray:
    """Rotate and scale a face [V, 3]: eye corners at (-.5, 0, 0) and (.5, 0, 0), forehead to chin upright."""
    right, left = points[list(EYE_CORNERS)]
    x = (left - right) / np.linalg.norm(left - right)
    down = points[152] - points[10]
    y = down - x * (down @ x)
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)])
    return (points - (left + right) / 2) @ axes.T / np.linalg.norm(left - right)


def principal_components(samples: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """Find weighted principal components, each as long as its standard deviation.

    Args:
        samples: [N, V, 3].
        weight: [V] of the vertices.

    Returns:
        [count, V, 3]
    """
    root = np.sqrt(weight)[:, None]
    flat = (samples * root).reshape(len(samples), -1)
    _, singular, vt = np.linalg.svd(flat, full_matrices=False)
    scaled = vt[:count] * (singular[:count, None] / np.sqrt(len(samples)))
    return scaled.reshape(count, *samples.shape[1:]) / np.maximum(root, 1e-6)


def learn_face_model(
    track_paths: list[Path], *, num_shape: int = 60, num_speech: int = 32, num_upper: int = 12
) -> FaceModel:
    """Learn mean and bases from tracks, a few frames of each.

    Args:
        track_paths: .npz tracks of training persons, balanced by the caller.
    """
    clips = load_points(track_paths)
    mean = upright_mean(clips)
    rigid, speech = stability_weight(mean), speech_weight(mean)
    templates, residuals = [], []
    for points in clips:
        head = unpose(points, *procrustes(mean, points, rigid))
        at_rest = np.argsort(lip_aperture(head))[: int(np.ceil(REST_SHARE * len(head)))]
        template = head[at_rest].mean(0)
        head = unpose(points, *procrustes(template, points, rigid))
        eye_distance = np.linalg.norm(template[EYE_CORNERS[0]] - template[EYE_CORNERS[1]])
        templates.append(template / eye_distance)
        residuals.append((head - template) / eye_distance)
    mean = np.mean(templates, 0)
    weight = np.ones(NUM_VERTICES)
    shape_basis = principal_components(np.array(templates) - mean, weight, num_shape)
    weight[list(LIPS)] = LIP_VARIANCE_WEIGHT
    moved = np.concatenate(residuals)
    share = speech[:, None]
    expression = [
        principal_components(moved * share, weight, num_speech) * (share > 0),
        principal_components(moved * (1 - share), weight, num_upper) * (share < 1),
    ]
    edges = FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION  # three edges a triangle, in order
    skin = np.array([[edge.start for edge in edges[i : i + 3]] for i in range(0, len(edges), 3)], np.int32)
    return FaceModel(
        mean=mean.astype(np.float32),
        shape_basis=shape_basis.astype(np.float32),
        expression_basis=np.concatenate(expression).astype(np.float32),
        triangles=np.concatenate([skin, mouth_triangles()]),
        num_speech=num_speech,
    )
