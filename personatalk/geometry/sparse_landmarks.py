"""68 points of a face to the vertices of the mesh: the head pose and the face model's coefficients that explain them.

Many detectors give the 68 points of the iBUG markup. They say nothing of the places between them, so cheeks, forehead
and the depth of a face are what the face model holds for likely, given where the points are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from personatalk.geometry.face_model import FaceModel

# Each of the 68 points as a vertex of the mesh; where two are named, the point lies halfway between them.
# Source: the markup is that of Sagonas et al. 2013, "300 Faces in-the-Wild Challenge".
# Ours: the vertices. Brows, eyes, nose and lips are those next to the points' mean over many annotated faces, and the
#     inner lips are those whose distance is the lip aperture. Nothing marks places along the jaw, so steps are equal.
IBUG_VERTICES: tuple[tuple[int, ...], ...] = (
    (127,),
    (234,),
    (93, 132),
    (58,),
    (172,),
    (136,),
    (150, 149),
    (176, 148),  # jaw, from the person's right ear
    (152,),  # chin
    (377, 400),
    (378, 379),
    (365,),
    (397,),
    (288,),
    (323, 361),
    (454,),
    (356,),  # jaw, to the left ear
    (70,),
    (63,),
    (105,),
    (66,),
    (55, 107),
    (285, 336),
    (296,),
    (334,),
    (293,),
    (300,),  # right brow, left brow
    (168,),
    (197,),
    (5,),
    (1, 4),
    (240,),
    (97,),
    (2, 164),
    (326,),
    (460,),  # bridge, tip and base of the nose
    (33,),
    (160,),
    (158,),
    (133,),
    (153,),
    (144,),
    (362,),
    (385,),
    (387,),
    (263,),
    (373,),
    (380,),  # right, left eye
    (61,),
    (40,),
    (37,),
    (0,),
    (267,),
    (270,),
    (291,),
    (321,),
    (314,),
    (17,),
    (84,),
    (91,),  # outer lips
    (78,),
    (82,),
    (13,),
    (312,),
    (308,),
    (317,),
    (14,),
    (87,),  # inner lips
)
NUM_POINTS = len(IBUG_VERTICES)
NUM_JAW = 17
RIGID = slice(17, 48)  # brows, nose, eyes: say how the head is turned before the mouth is known
EARS, NOSE_TIP = [0, 16], 30
POINT_NOISE_IOD = 0.015  # a detector's heat map has cells of some .06 IOD, read to a quarter
JAW_NOISE_IOD = 0.05
DEPTH_NOISE_IOD = 0.08  # the depth is a detector's second guess
NUM_STEPS = 8  # of Gauss-Newton
MAX_UNEXPLAINED = 0.3  # of the points' spread, without the jaw; faces have .2 at most, points of no face .8 or more


@dataclass(frozen=True, kw_only=True)
class HeadState:
    """What explains the points of a frame: scale * (rotation @ head point + translation).

    Attributes:
        rotation: [3, 3] camera_from_head.
        scale: px per IOD.
        translation: [3] IOD, camera axes.
        coefficients: [Ks + Ke] of the face model, identity first.
    """

    rotation: np.ndarray
    scale: float
    translation: np.ndarray
    coefficients: np.ndarray


class SparseFitter:
    """Finds the most probable pose and coefficients of a frame, by Gauss-Newton with the face model's own prior.

    Args:
        face_model: explains the points.

    Ours: the paper does not name its tracker.
    """

    def __init__(self, face_model: FaceModel) -> None:
        bases = np.concatenate([face_model.shape_basis, face_model.expression_basis])
        self._mean, self._basis = face_model.mean.astype(np.float64), bases.astype(np.float64)
        self._mean_points, self._basis_points = ibug_points(self._mean), ibug_points(self._basis)

    def fit(self, points: np.ndarray) -> np.ndarray | None:
        """Find the vertices of a frame.

        Args:
            points: [68, 2] or [68, 3] px; z may point either way.

        Returns:
            [V, 3] px, smaller z is nearer; None where the points are no face.
        """
        observed = _nose_towards_camera(points.astype(np.float64))
        centre = observed[RIGID].mean(0)
        observed = observed - centre
        state = self._start(observed)
        for _ in range(NUM_STEPS):
            normal, gradient, _ = self._normal_equations(state, observed)
            state = _moved(state, np.linalg.solve(normal, gradient))
        _, _, residual = self._normal_equations(state, observed)
        if state.scale * np.sqrt((residual[NUM_JAW:, :2] ** 2).mean()) > MAX_UNEXPLAINED * _spread(observed[NUM_JAW:]):
            return None
        head = self._mean + np.tensordot(state.coefficients, self._basis, 1)
        vertices = state.scale * (head @ state.rotation.T + state.translation)
        vertices[:, : len(centre)] += centre
        return vertices.astype(np.float32)

    def _start(self, observed: np.ndarray) -> HeadState:
        """The mean face, turned by scaled orthography: an affine map of the rigid points, made orthogonal."""
        head = self._mean_points
        centred, seen = head[RIGID] - head[RIGID].mean(0), observed[RIGID, :2] - observed[RIGID, :2].mean(0)
        affine = np.linalg.lstsq(centred, seen, rcond=None)[0].T
        left, stretch, right = np.linalg.svd(affine, full_matrices=False)
        rows = left @ right
        rotation = np.concatenate([rows, np.cross(rows[0], rows[1])[None]])
        scale = float(stretch.mean())
        translation = np.zeros(3)
        offset = observed / scale - (head @ rotation.T)[:, : observed.shape[1]]
        translation[: observed.shape[1]] = offset[RIGID].mean(0)
        return HeadState(
            rotation=rotation, scale=scale, translation=translation, coefficients=np.zeros(len(self._basis))
        )

    def _normal_equations(self, state: HeadState, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Linearise about a state.

        Args:
            observed: [68, D] px.

        Returns:
            normal matrix [P, P] and gradient [P] for the steps of rotation vector, log scale, translation and
            coefficients, the prior included; and what is not explained, [68, D] IOD.
        """
        dims = observed.shape[1]
        head = self._mean_points + np.tensordot(state.coefficients, self._basis_points, 1)
        turned = head @ state.rotation.T
        residual = observed / state.scale - (turned + state.translation)[:, :dims]
        jacobian = np.concatenate(
            [
                np.cross(np.eye(3)[:, None], turned[None]),
                (turned + state.translation)[None],
                np.broadcast_to(np.eye(3)[:dims, None], (dims, NUM_POINTS, 3)),
                self._basis_points @ state.rotation.T,
            ]
        )[..., :dims]
        weighted = (jacobian * _precision(dims)).reshape(len(jacobian), -1)
        normal = weighted @ jacobian.reshape(len(jacobian), -1).T
        gradient = weighted @ residual.ravel()
        count = len(self._basis)
        normal[-count:, -count:] += np.eye(count)
        gradient[-count:] -= state.coefficients
        return normal, gradient, residual


def ibug_points(vertices: np.ndarray) -> np.ndarray:
    """The 68 points of a mesh: [..., V, D] -> [..., 68, D]."""
    return np.stack([vertices[..., list(pair), :].mean(-2) for pair in IBUG_VERTICES], -2)


def _spread(points: np.ndarray) -> float:
    """Standard deviation of points [N, D] in the image, px."""
    return float(np.sqrt(points[:, :2].var(0).mean()))


def _nose_towards_camera(points: np.ndarray) -> np.ndarray:
    """Turn the depth, if there is one, so that the tip of the nose is nearer (smaller z) than the ears."""
    if points.shape[1] == 3 and points[NOSE_TIP, 2] > points[EARS, 2].mean():
        return points * (1, 1, -1)
    return points


def _precision(dims: int) -> np.ndarray:
    """[68, D] IOD^-2, the inverse variance of each coordinate."""
    noise = np.full((NUM_POINTS, dims), POINT_NOISE_IOD)
    noise[:NUM_JAW] = JAW_NOISE_IOD
    noise[:, 2:] = DEPTH_NOISE_IOD
    return noise**-2


def _moved(state: HeadState, step: np.ndarray) -> HeadState:
    """Apply a step of rotation vector, log scale, translation and coefficients."""
    count = len(state.coefficients)
    translation = state.translation.copy()
    shift = step[4:-count]
    scale = state.scale * float(np.exp(np.clip(step[3], -0.5, 0.5)))
    translation[: len(shift)] += shift
    return HeadState(
        rotation=Rotation.from_rotvec(step[:3]).as_matrix() @ state.rotation,
        scale=scale,
        translation=translation,
        coefficients=state.coefficients + step[-count:],
    )
