"""The mouth in numbers: lip aperture, mouth width, lip descriptors; one definition for NumPy arrays and tensors."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from scipy.spatial.transform import Rotation
from torch import Tensor

from personatalk.geometry.face_model import LIP_PAIRS, LIPS, MOUTH_CORNERS, FaceModel, HeadVertices, in_blocks

Array = TypeVar("Array", np.ndarray, Tensor)
UPPER_LIP, LOWER_LIP = (list(side) for side in zip(*LIP_PAIRS, strict=True))
POSE_WEIGHT = 0.15  # IOD of lip shape that a turn of one radian is worth
LEAST_SQUARE = 1e-12  # IOD^2; under the root, so that a gradient exists where lips touch


def lip_gaps(vertices: Array) -> Array:
    """Vectors from the lower to the upper inner lip at three places: [..., V, 3] -> [..., 3, 3], same unit."""
    return vertices[..., UPPER_LIP, :] - vertices[..., LOWER_LIP, :]


def gap_aperture(gaps: Array) -> Array:
    """Lip aperture of gaps [..., 3, 3]: their mean length, [...]."""
    return length(gaps).mean(-1)  # pyright: ignore[reportReturnType]  # to NumPy, a mean may be a scalar


def lip_aperture(vertices: Array) -> Array:
    """Distance between the inner lips, mean of three places.

    Args:
        vertices: [..., V, 3] any unit.

    Returns:
        [...] same unit.
    """
    return gap_aperture(lip_gaps(vertices))


def mouth_width(vertices: Array) -> Array:
    """Distance between the corners of the mouth: [..., V, 3] -> [...], same unit."""
    right, left = MOUTH_CORNERS
    return length(vertices[..., right, :] - vertices[..., left, :])


def length(vectors: Array) -> Array:
    """Euclidean length of vectors [..., 3]: [...]."""
    return ((vectors**2).sum(-1) + LEAST_SQUARE) ** 0.5  # pyright: ignore[reportReturnType]


def driven_gaps(coefficients: Array, gaps: Array, gap_basis: Array) -> Array:
    """Lip gaps for expression coefficients, without building the face.

    Args:
        coefficients: [..., T, K].
        gaps: [..., 3, 3], those of the template.
        gap_basis: [K, 3, 3], what each coefficient does to them.

    Returns:
        [..., T, 3, 3]
    """
    moved = coefficients @ gap_basis.reshape(len(gap_basis), -1)
    return gaps[..., None, :, :] + moved.reshape(*moved.shape[:-1], *gap_basis.shape[1:])


def driven_aperture(speech: np.ndarray, template: np.ndarray, face_model: FaceModel) -> np.ndarray:
    """Lip aperture for speech coefficients, without building the face.

    Args:
        speech: [T, K] speech coefficients.
        template: [V, 3] IOD.

    Returns:
        [T] IOD, as `lip_aperture`.
    """
    return gap_aperture(driven_gaps(speech, lip_gaps(template), lip_gaps(face_model.speech_basis)))


def apertures_of(head_vertices: HeadVertices) -> np.ndarray:
    """Lip aperture of every frame [T] IOD, a block of frames at a time."""
    return np.concatenate([lip_aperture(head_vertices[frames]) for frames in in_blocks(len(head_vertices))])


def lip_descriptors(head_vertices: np.ndarray | HeadVertices, template: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Describe the mouth of each frame, so that distance means difference in what is seen.

    Args:
        head_vertices: [T, V, 3] IOD; all are never held at once if they come as HeadVertices.
        template: [V, 3] IOD.
        rotation: [T, 3, 3] camera_from_head.

    Returns:
        [T, D]; Euclidean distance is the rms distance of the lip vertices in IOD, plus the turn of the head.
    """
    lips = list(LIPS)
    descriptors = np.empty((len(head_vertices), 3 * len(lips) + 3), np.float32)
    for frames in in_blocks(len(head_vertices)):
        shape = head_vertices[frames][:, lips] - template[lips]
        descriptors[frames, :-3] = shape.reshape(len(shape), -1) / np.sqrt(len(lips))
    descriptors[:, -3:] = Rotation.from_matrix(rotation).as_rotvec() * POSE_WEIGHT
    return descriptors
