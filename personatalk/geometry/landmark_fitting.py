"""Hybrid geometry estimation: a face track to a person's template geometry, expression and head pose.

The regressor is the tracker. The optimisation explains its landmarks over the whole clip by one
template geometry, smooth head pose and the face model's expressions.

Ours: the paper names neither its estimator nor its energy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from personatalk.errors import NoFaceError
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import EYE_CORNERS, LIPS, NUM_VERTICES, FaceModel, in_blocks, stability_weight
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.tracking import FaceTrack

REFERENCE_FPS = 25.0  # the smoothing strengths below are for this rate
ROTATION_SMOOTHING = 4.0
TRANSLATION_SMOOTHING = 0.5
SCALE_SMOOTHING = 20.0
EXPRESSION_SMOOTHING = 0.08
LIP_WEIGHT = 6.0
EXPRESSION_PRIOR = 0.3  # weight of a coefficient's square against squared vertex errors in units of NOISE
NOISE_IOD = 0.01  # how far the tracker's landmarks scatter
REST_SHARE = 0.3  # the most closed share of the frames shows the face at rest
MAX_REST_FRAMES = 500  # of which the median is taken
MIN_VALID_FRAMES = 3
JUMP_IOD = 0.5  # a face that moves farther between two frames is another shot


def fit_track(track: FaceTrack, face_model: FaceModel) -> FaceGeometry:
    """Estimate template, expression and pose of a tracked face.

    Raises:
        NoFaceError: fewer than three frames show a face.
    """
    valid = track.detected.copy()
    if valid.sum() < MIN_VALID_FRAMES:
        raise NoFaceError(
            f"no face can be followed: it was found in {int(valid.sum())} of {len(valid)} frames. "
            "Use a clip where one face is seen from the front, at least 60 pixels wide."
        )
    points, times = _TrackPoints(track), track.times[valid]
    rigid = stability_weight(face_model.mean)

    pose = points.map(lambda seen: procrustes(face_model.mean, seen, rigid))
    (opening,) = points.map(lambda seen, *pose: (lip_aperture(unpose(seen, *pose)),), *pose)
    at_rest = rest_frames(opening)
    template = estimate_template(unpose(points[at_rest], *(part[at_rest] for part in pose)), face_model)
    (centres,) = points.map(lambda seen: (seen.mean(1, keepdims=True),))
    segments = split_segments(centres, times, pose[1], track.shot[valid])
    rotation, scale, translation = points.map(lambda seen: procrustes(template, seen, rigid))
    pose = smooth_pose((rotation, scale, translation), times, segments)
    (expression,) = points.map(
        lambda seen, *pose: (solve_expression(unpose(seen, *pose) - template, face_model),), *pose
    )
    expression = smooth_over_time(expression, EXPRESSION_SMOOTHING, times, segments)

    rotation, scale, translation = pose
    index = nearest_valid(valid)
    return FaceGeometry(
        template=template.astype(np.float32),
        expression=expression[index].astype(np.float32),
        rotation=rotation[index].astype(np.float32),
        translation=translation[index, :2].astype(np.float32),
        scale=scale[index].astype(np.float32),
        valid=valid,
        times=track.times,
        shot=track.shot,
        light=track.light,
    )


class _TrackPoints:
    """The vertices of a track's valid frames, in double precision, a block of frames at a time."""

    def __init__(self, track: FaceTrack) -> None:
        self._landmarks, self._frames = track.landmarks, np.flatnonzero(track.detected)

    def __getitem__(self, frames: slice | np.ndarray) -> np.ndarray:
        return self._landmarks[self._frames[frames], :NUM_VERTICES].astype(np.float64)

    def map(self, function: Callable[..., tuple[np.ndarray, ...]], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """Call a function with the points of each block, and the block's part of some arrays; join what it returns."""
        blocks = in_blocks(len(self._frames))
        parts = [function(self[frames], *(array[frames] for array in arrays)) for frames in blocks]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def procrustes(shape: np.ndarray, points: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the similarity that lays a shape on points, in closed form for each frame.

    Args:
        shape: [V, 3] or [T, V, 3].
        points: [T, V, 3].
        weight: [V] sums to 1.

    Returns:
        rotation [T, 3, 3], scale [T], translation [T, 3] with points = scale * rotation @ shape + translation.

    Source: Umeyama 1991, "Least-squares estimation of transformation parameters".
    """
    shape = np.broadcast_to(shape, points.shape)
    shape_mean = np.einsum("v,tvc->tc", weight, shape)
    points_mean = np.einsum("v,tvc->tc", weight, points)
    centred_shape, centred_points = shape - shape_mean[:, None], points - points_mean[:, None]
    covariance = np.einsum("v,tvi,tvj->tij", weight, centred_points, centred_shape)
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None]) @ vt
    variance = np.einsum("v,tvc,tvc->t", weight, centred_shape, centred_shape)
    scale = (singular * sign).sum(-1) / variance
    translation = points_mean - scale[:, None] * np.einsum("tij,tj->ti", rotation, shape_mean)
    return rotation, scale, translation


def unpose(points: np.ndarray, rotation: np.ndarray, scale: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Carry image points [T, V, 3] px back into head space, IOD."""
    return (points - translation[:, None]) @ rotation / scale[:, None, None]


def rest_frames(opening: np.ndarray) -> np.ndarray:
    """Pick the frames whose mouth is most closed, at most MAX_REST_FRAMES, evenly over their openness.

    Args:
        opening: [T] IOD.

    Returns:
        [N] frames.
    """
    count = max(1, int(np.ceil(REST_SHARE * len(opening))))
    at_rest = np.argsort(opening, kind="stable")[:count]
    return at_rest[np.linspace(0, count - 1, min(count, MAX_REST_FRAMES)).astype(int)]


def estimate_template(head_points: np.ndarray, face_model: FaceModel) -> np.ndarray:
    """Estimate a person at rest from frames whose mouth is closed.

    The part that the identity basis explains is taken as seen; what it does not explain is
    shrunk by how few frames saw it. The result is scaled to an inter-ocular distance of one.

    Args:
        head_points: [N, V, 3] IOD.

    Returns:
        [V, 3] IOD.
    """
    count = len(head_points)
    difference = np.median(head_points, axis=0) - face_model.mean
    basis = face_model.shape_basis.reshape(len(face_model.shape_basis), -1).astype(np.float64)
    ridge = np.eye(len(basis)) * (NOISE_IOD**2 * 3)
    coefficients = np.linalg.solve(basis @ basis.T + ridge, basis @ difference.ravel())
    explained = (coefficients @ basis).reshape(difference.shape)
    template = face_model.mean + explained + (difference - explained) * (count / (count + 2))
    return template / np.linalg.norm(template[EYE_CORNERS[0]] - template[EYE_CORNERS[1]])


def solve_expression(residual: np.ndarray, face_model: FaceModel) -> np.ndarray:
    """Explain what a template does not, by the expression basis, lips weighted.

    Args:
        residual: [T, V, 3] IOD, head space.

    Returns:
        [T, Ke]
    """
    weight = np.ones(NUM_VERTICES)
    weight[list(LIPS)] = LIP_WEIGHT
    basis = face_model.expression_basis.astype(np.float64)
    normal = np.einsum("kvc,v,lvc->kl", basis, weight, basis)
    normal += np.eye(len(basis)) * EXPRESSION_PRIOR * NOISE_IOD**2 * weight.mean()
    right = np.einsum("kvc,v,tvc->tk", basis, weight, residual, optimize=True)
    return np.linalg.solve(normal, right.T).T


def split_segments(points: np.ndarray, times: np.ndarray, scale: np.ndarray, shot: np.ndarray) -> list[slice]:
    """Cut the frames where the shot ends, the face jumps, or was lost for more than a fifth of a second."""
    moved = np.linalg.norm(np.diff(points.mean(1)[:, :2], axis=0), axis=-1) / scale[1:]
    grown = np.abs(np.diff(np.log(scale)))
    breaks = (moved > JUMP_IOD) | (grown > 0.2) | (np.diff(times) > 0.2) | (np.diff(shot) != 0)
    edges = [0, *(np.flatnonzero(breaks) + 1), len(points)]
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def smooth_pose(
    pose: tuple[np.ndarray, np.ndarray, np.ndarray], times: np.ndarray, segments: list[slice]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth rotation, scale and translation over time within each shot."""
    rotation, scale, translation = pose
    mean = Rotation.from_matrix(rotation).mean()
    turns = (mean.inv() * Rotation.from_matrix(rotation)).as_rotvec()
    turns = smooth_over_time(turns, ROTATION_SMOOTHING, times, segments)
    scale = np.exp(smooth_over_time(np.log(scale)[:, None], SCALE_SMOOTHING, times, segments)[:, 0])
    translation = smooth_over_time(translation, TRANSLATION_SMOOTHING, times, segments)
    return (mean * Rotation.from_rotvec(turns)).as_matrix(), scale, translation


def smooth_over_time(values: np.ndarray, strength: float, times: np.ndarray, segments: list[slice]) -> np.ndarray:
    """Whittaker smoothing: least squares with a penalty on the second difference.

    Args:
        values: [T, C].
        strength: of the penalty at 25 frames a second; 0 changes nothing.
        times: [T] s, for the frame rate.
        segments: runs of frames that are smoothed apart.

    Returns:
        [T, C]

    Source: Whittaker 1923; Eilers 2003, "A perfect smoother".
    """
    smoothed = values.copy()
    for segment in segments:
        count = segment.stop - segment.start
        if count < MIN_VALID_FRAMES:
            continue
        fps = 1 / max(1e-3, float(np.median(np.diff(times[segment]))))
        penalty = strength * (fps / REFERENCE_FPS) ** 4
        bands = np.zeros((3, count))  # upper form of I + penalty * D'D, D the second difference
        for offset, coefficients in enumerate(((1, 4, 1), (-2, -2), (1,))):
            for shift, coefficient in enumerate(coefficients):
                start = shift + offset
                bands[2 - offset, start : start + count - 2] += penalty * coefficient
        bands[2] += 1
        smoothed[segment] = solveh_banded(bands, values[segment])
    return smoothed


def nearest_valid(valid: np.ndarray) -> np.ndarray:
    """[T] for every frame the position, among the valid frames, of the one nearest in time."""
    where = np.flatnonzero(valid)
    after = np.clip(np.searchsorted(where, np.arange(len(valid))), 0, len(where) - 1)
    before = np.clip(after - 1, 0, None)
    frames = np.arange(len(valid))
    return np.where(np.abs(where[before] - frames) <= np.abs(where[after] - frames), before, after)
