"""A texture prior: the coarse texture of the lower face, predicted from all references by Gaussian-process regression.

Attention mixes a few references and cannot extrapolate. All references together tell how the person's colours change
with the expression, with the mouth, and with what is seen around the mask. A Gaussian process over the clip's
textures, solved in closed form, predicts the target's.

Ours: without it a renderer trained alike had 28.1 and 26.3 dB in the lower face and the lips, with it 29.1 and 27.1.
Gaussian-process regression with unknown mean (ordinary kriging), as in Cressie, "Statistics for Spatial Data", 1993.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial.distance import cdist

from personatalk.face_rendering.reference_selection import is_far
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.face_geometry import FaceGeometry, FramePose
from personatalk.geometry.face_refinement import sample
from personatalk.geometry.mesh import NUM_PRIOR_CHANNELS, PRIOR_STRIDE, FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.kernels import kernel

WIDTH, HEIGHT = WINDOW_WIDTH // PRIOR_STRIDE, WINDOW_HEIGHT // PRIOR_STRIDE
MIN_TEXTURES = 16  # from fewer nothing is predicted
# Variances in squared levels of 255, chosen on validation clips.
EXPRESSION_VARIANCE = 10.0  # a linear share, by one deviation of the clip's main expression
MOUTH_VARIANCE, MOUTH_SCALE_IOD = 60.0, 0.05  # a share that mouths have in common that are so far apart
TIME_VARIANCE, TIME_SCALE_S = 10.0, 1.2
SURROUNDINGS_VARIANCES = (0.1, 2.0)  # of lips, of skin: a linear share, by one level of difference around the mask
NOISE_VARIANCE = 4.0
MIDDLE_LEVEL = 128.0
HALF_CERTAIN = 10.0  # levels; a prediction that deviates so much counts as uncertain by a half
MAX_DIFFERENCE = 60.0  # levels; what differs more around the mask is something else than light
MARGIN_PX = 2  # between the mask and what counts as its surroundings, at half the window's size


@dataclass(frozen=True, kw_only=True)
class TextureFrame:
    """A frame from which the prior learns.

    Attributes:
        index: frame number in its clip.
        window: [80, 96, 3] uint8, half the renderer's window.
        projected: [N, 3] px of the whole window, vertices and border.
    """

    index: int
    window: np.ndarray
    projected: np.ndarray


@dataclass(frozen=True, kw_only=True)
class GPInputs:
    """What a texture depends on, of N frames.

    Attributes:
        expression: [N, K] coefficients.
        mouth: [N, D] lip descriptors.
        time: [N] s.
        surroundings: [N, S] levels of 255, colours around the mask, from the middle.
    """

    expression: np.ndarray
    mouth: np.ndarray
    time: np.ndarray
    surroundings: np.ndarray


class TexturePrior:
    """Predicts the coarse texture of a target's lower face from all references of its clip.

    Textures lie on the mesh as the frame sees it that faces the camera most, at half the window's size.

    Args:
        mesh: the face mesh.
        geometry: of the clip.
        frames: of it, spread over the clip.
    """

    def __init__(self, mesh: FaceMesh, geometry: FaceGeometry, frames: list[TextureFrame]) -> None:
        self.mesh, self.template = mesh, geometry.template
        numbers = np.array([frame.index for frame in frames])
        self._lay_out(frames[int(geometry.rotation[numbers, 2, 2].argmax())].projected)
        textures = np.stack([self._unwrap(frame.window, frame.projected) for frame in frames])
        self._textures = textures[:, self._inside].round().astype(np.uint8).reshape(len(frames), -1)
        basis = mesh.face_model.expression_basis
        self._expression_from_vertices = np.linalg.pinv(basis.reshape(len(basis), -1).astype(np.float64))
        head_vertices = mesh.face_model.vertices(geometry.template, geometry.expression[numbers])
        mouths = lip_descriptors(head_vertices, geometry.template, geometry.rotation[numbers])
        self._known = self._gp_inputs(head_vertices, mouths, geometry.times[numbers], textures)
        expression = self._known.expression
        self._expression_mean = expression.mean(0)
        deviation = np.linalg.norm(expression - self._expression_mean, 2) / np.sqrt(len(numbers))
        self._expression_scale = max(float(deviation), 1e-6)
        self._observed = self._covariances(self._known, self._known) + NOISE_VARIANCE * np.eye(len(numbers))
        self._precisions = np.linalg.inv(self._observed)

    def _lay_out(self, projected: np.ndarray) -> None:
        """Lay the mesh out as a frame's vertices [N, 3] px of the window lie."""
        self._canonical = projected / np.float32(PRIOR_STRIDE)
        self._raster = rasterize(self._canonical, self.mesh.triangles, HEIGHT, WIDTH)
        mask = self.mesh.mask(self._canonical, self.template, HEIGHT, WIDTH)
        reach = np.ones((2 * MARGIN_PX + 1,) * 2, np.uint8)
        self._inside = cv2.dilate((mask > 0).astype(np.uint8), reach) > 0
        on_face = (self._raster[0] >= 0) & (self._raster[0] < len(self.mesh.face_model.triangles))
        self._surroundings = on_face & ~self._inside
        lips = interpolate(*self._raster, self.mesh.triangles, self.mesh.lip_region[:, None])[0]
        self._lip_share = lips[self._inside]

    def _unwrap(self, window: np.ndarray, projected: np.ndarray) -> np.ndarray:
        """[80, 96, 3] float32: a window [80, 96, 3] unwrapped by a mesh projected to [N, 3] px of the whole."""
        positions = np.ascontiguousarray(projected[:, :2] / np.float32(PRIOR_STRIDE))
        grid = interpolate(*self._raster, self.mesh.triangles, positions)
        return sample(window, grid.transpose(1, 2, 0)).astype(np.float32)

    def _gp_inputs(
        self, head_vertices: np.ndarray, mouths: np.ndarray, times: np.ndarray, textures: np.ndarray
    ) -> GPInputs:
        """Describe N frames: vertices [N, V, 3], lip descriptors [N, D], times [N], textures [N, 80, 96, 3]."""
        around = textures[:, ::2, ::2][:, self._surroundings[::2, ::2]].reshape(len(textures), -1)
        moved = (head_vertices - self.template).reshape(len(head_vertices), -1)
        return GPInputs(
            expression=moved @ self._expression_from_vertices,
            mouth=mouths,
            time=times,
            surroundings=around.astype(np.float64) - MIDDLE_LEVEL,
        )

    def _covariances(self, first: GPInputs, second: GPInputs) -> np.ndarray:
        """[2, N, M] covariances of the textures of N frames and M frames: of lips, of skin."""
        expression, wanted = ((x.expression - self._expression_mean) / self._expression_scale for x in (first, second))
        distance = cdist(first.mouth, second.mouth, "sqeuclidean")
        common = (
            EXPRESSION_VARIANCE * expression @ wanted.T
            + MOUTH_VARIANCE * np.exp(-distance / (2 * MOUTH_SCALE_IOD**2))
            + TIME_VARIANCE * np.exp(-np.abs(first.time[:, None] - second.time) / TIME_SCALE_S)
        )
        alike = first.surroundings @ second.surroundings.T / max(first.surroundings.shape[1], 1)
        return np.stack([common + variance * alike for variance in SURROUNDINGS_VARIANCES])

    def predict(
        self, pose: FramePose, projected: np.ndarray, image: np.ndarray, mouth: np.ndarray, time: float
    ) -> np.ndarray:
        """Predict what a target looks like.

        Args:
            pose: of the face to render, its target the window.
            projected: [N, 3] px of the window, what the mesh projects the pose to.
            image: [3, H, W] in [0, 1], the target's window, black inside the mask.
            mouth: [D] lip descriptor of the pose.
            time: s of the target in the clip; references nearer than MIN_GAP_S have no say.

        Returns:
            [5, 80, 96] on the target's window: colours in [0, 1], 1 where there is a prediction, and how uncertain
            it is, 0 to 1; all 0 where there is none.
        """
        far = is_far(np.abs(self._known.time - time))
        if far.sum() < MIN_TEXTURES:
            return empty_prediction()
        window = halve(np.ascontiguousarray(image.transpose(1, 2, 0))) * 255
        texture = self._unwrap(window, projected)
        target = self._gp_inputs(pose.vertices[None], mouth[None], np.array([time]), texture[None])
        usual = self._known.surroundings[far].mean(0)
        difference = np.clip(target.surroundings - usual, -MAX_DIFFERENCE, MAX_DIFFERENCE)
        target = replace(target, surroundings=usual + difference)
        covariances, own = self._covariances(self._known, target)[..., 0], self._covariances(target, target)[:, 0, 0]
        weights = np.stack([gp_weights(p, c, far) for p, c in zip(self._precisions, covariances, strict=True)])
        explained = 2 * (weights * covariances).sum(1) - np.einsum("kn,knm,km->k", weights, self._observed, weights)
        deviation = np.sqrt(np.maximum(own - explained, 0))
        uncertain = deviation / (deviation + HALF_CERTAIN)
        predicted = np.zeros((HEIGHT, WIDTH, NUM_PRIOR_CHANNELS), np.float32)
        predicted[self._inside, :3] = mix_textures(self._textures, weights.astype(np.float32), self._lip_share)
        predicted[self._inside, 3] = 255
        predicted[self._inside, 4] = 255 * (uncertain[1] + self._lip_share * (uncertain[0] - uncertain[1]))
        index, barycentric = rasterize(projected / np.float32(PRIOR_STRIDE), self.mesh.triangles, HEIGHT, WIDTH)
        grid = interpolate(index, barycentric, self.mesh.triangles, np.ascontiguousarray(self._canonical[:, :2]))
        seen = sample(predicted, grid.transpose(1, 2, 0)) * (index >= 0)[..., None]
        return np.clip(seen / 255, 0, 1).transpose(2, 0, 1)


def empty_prediction() -> np.ndarray:
    """[5, 80, 96] of a target of which nothing was predicted."""
    return np.zeros((NUM_PRIOR_CHANNELS, HEIGHT, WIDTH), np.float32)


def texture_frame(index: int, window: np.ndarray, projected: np.ndarray) -> TextureFrame:
    """Keep of a frame's window [160, 192, 3] uint8 what the prior learns from."""
    return TextureFrame(index=index, window=halve(window), projected=projected)


def gp_weights(precision: np.ndarray, covariance: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Weigh observations so that their weighted sum predicts a further one best: ordinary kriging, mean unknown.

    Args:
        precision: [N, N] inverse of the covariances of all observations, noise included.
        covariance: [N] of the observations and what is to be predicted.
        allowed: [N] bool; the others weigh nothing.

    Returns:
        [N], sums to 1.
    """
    right = np.stack([covariance, np.ones(len(covariance))], 1) * allowed[:, None]
    solved = precision @ right
    if not allowed.all():  # the inverse without the rows that are not allowed, by the Schur complement
        left_out = ~allowed
        solved -= precision[:, left_out] @ np.linalg.solve(precision[np.ix_(left_out, left_out)], solved[left_out])
        solved[left_out] = 0
    best, ones = solved.T
    return best + ones * (1 - best.sum()) / ones.sum()


@kernel("uint8[:, ::1], float32[:, ::1], float32[::1]", fastmath=True)
def mix_textures(textures: np.ndarray, weights: np.ndarray, lip_share: np.ndarray) -> np.ndarray:
    """Add textures up, each place with the weights of lips, of skin, or of both.

    Args:
        textures: [N, P * 3] uint8, the colours of P places.
        weights: [2, N] of lips, of skin.
        lip_share: [P] in [0, 1].

    Returns:
        [P, 3] levels of 255.
    """
    mixed = np.zeros((2, textures.shape[1]), np.float32)
    for n in range(len(textures)):
        of_lips, of_skin = weights[0, n], weights[1, n]
        for k in range(textures.shape[1]):
            level = np.float32(textures[n, k])
            mixed[0, k] += of_lips * level
            mixed[1, k] += of_skin * level
    colours = np.empty((len(lip_share), 3), np.float32)
    for p in range(len(lip_share)):
        for channel in range(3):
            lips, skin = mixed[0, 3 * p + channel], mixed[1, 3 * p + channel]
            colours[p, channel] = skin + lip_share[p] * (lips - skin)
    return colours


def halve(window: np.ndarray) -> np.ndarray:
    """Average a window [160, 192, C] over squares of 2 px."""
    return cv2.resize(window, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
