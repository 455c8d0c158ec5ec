"""Faces whose geometry is known: a head that turns and speaks, from random coefficients, and its noisy landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from personatalk import metrics
from personatalk.geometry.face_model import LIPS, NUM_VERTICES, FaceModel
from personatalk.geometry.landmark_fitting import fit_track, procrustes
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.tracking import NUM_LANDMARKS, FaceTrack

SCALE_PX = 80.0
NUM_FRAMES, FPS = 75, 25.0
FASTEST_SPEECH_HZ, FASTEST_MOTION_HZ = 4.0, 0.7
LARGEST_ANGLES_DEG = (4, 8, 3)
CENTRE_PX, WANDERING_PX = 150, 5


@dataclass(frozen=True, kw_only=True)
class KnownFace:
    """A face whose geometry is known: [T, V, 3] IOD vertices, [T, 3, 3] camera_from_head, and its track."""

    vertices: np.ndarray
    rotation: np.ndarray
    track: FaceTrack


def known_face(face_model: FaceModel, *, noise_iod: float, seed: int) -> KnownFace:
    """Make a face that speaks and turns its head, by random coefficients, and its landmarks with noise.

    Args:
        noise_iod: standard deviation of the noise on each coordinate of each landmark.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(NUM_FRAMES) / FPS
    shape = np.tensordot(rng.normal(size=len(face_model.shape_basis)), face_model.shape_basis, 1)
    waves = _smooth_series(rng, times, face_model.num_expression, fastest_hz=FASTEST_SPEECH_HZ)
    vertices = face_model.vertices(face_model.mean + shape, waves)
    corners = vertices[:, (33, 263)]
    vertices = (vertices / np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1).mean()).astype(np.float64)
    angles = _smooth_series(rng, times, 3, fastest_hz=FASTEST_MOTION_HZ) * np.radians(LARGEST_ANGLES_DEG)
    rotation = Rotation.from_rotvec(angles).as_matrix()
    points = vertices @ np.swapaxes(rotation, -1, -2) * SCALE_PX
    points[..., :2] += (CENTRE_PX + WANDERING_PX * _smooth_series(rng, times, 2, fastest_hz=FASTEST_MOTION_HZ))[:, None]
    points += rng.normal(scale=noise_iod * SCALE_PX, size=points.shape)
    landmarks = np.zeros((len(times), NUM_LANDMARKS, 3), np.float32)
    landmarks[:, :NUM_VERTICES] = points
    detected = np.ones(len(times), bool)
    track = FaceTrack(landmarks=landmarks, detected=detected, times=times, width=300, height=300)
    return KnownFace(vertices=vertices, rotation=rotation, track=track)


def round_trip_figures(face: KnownFace, face_model: FaceModel) -> dict[str, float]:
    """Fit a known face from its landmarks and compare with what it was made of.

    The rest pose of a face is a convention, so vertices are compared, not coefficients.
    """
    geometry = fit_track(face.track, face_model)
    fitted = face_model.vertices(geometry.template, geometry.expression).astype(np.float64)
    # head space is known up to one similarity for the whole clip
    count = len(fitted)
    weight = np.full(count * NUM_VERTICES, 1 / (count * NUM_VERTICES))
    aligned = procrustes(fitted.reshape(1, -1, 3), face.vertices.reshape(1, -1, 3), weight)
    fitted = aligned[1][0] * fitted @ aligned[0][0].T + aligned[2][0]
    turn = Rotation.from_matrix(geometry.rotation @ aligned[0][0].T) * Rotation.from_matrix(face.rotation).inv()
    miss = 100 * np.linalg.norm(fitted - face.vertices, axis=-1)
    return {
        "lips_%": float(miss[:, list(LIPS)].mean()),
        "face_%": float(miss.mean()),
        "rotation_error_deg": float(np.degrees(turn.magnitude().mean())),
        "aperture_r": metrics.correlation(lip_aperture(fitted), lip_aperture(face.vertices)),
        "aperture_deviation_ratio": metrics.deviation_ratio(lip_aperture(fitted), lip_aperture(face.vertices)),
    }


def _smooth_series(rng: np.random.Generator, times: np.ndarray, count: int, *, fastest_hz: float) -> np.ndarray:
    """[T, count] sums of waves with a standard deviation of about one."""
    rates = rng.uniform(0.2, fastest_hz, (4, count))
    phases = rng.uniform(0, 2 * np.pi, (4, count))
    return np.sin(2 * np.pi * times[:, None, None] * rates + phases).sum(1) / np.sqrt(2)
