"""The window that the renderer looks through: maps between it and the image."""

from __future__ import annotations

import cv2
import numpy as np

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.media.picture import Box, ChangedPicture, Picture, Pixels

WINDOW_WIDTH, WINDOW_HEIGHT = 192, 160  # px
WINDOW_SCALE = 96.0  # px per IOD
MARGIN_PX = 2  # around what a window sees: its outermost samples lie between pixels
WINDOW_CENTRE = (0.0, 0.93, -0.15)  # IOD, head space: between the mouth and the chin


def window_from_image(geometry: FaceGeometry) -> np.ndarray:
    """Find the similarity that takes image pixels into the window of the lower face.

    It follows the head's position, size and roll, and knows nothing of the mouth.

    Args:
        geometry: of T frames.

    Returns:
        [T, 2, 3] window_from_image, in pixels whose first centre lies at (0.5, 0.5).
    """
    across = geometry.rotation[:, :2, 0]
    across = across / np.linalg.norm(across, axis=-1, keepdims=True)
    centre = geometry.project(np.array([WINDOW_CENTRE], np.float32))[:, 0, :2]
    gain = WINDOW_SCALE / geometry.scale
    linear = np.stack([across, np.stack([-across[:, 1], across[:, 0]], -1)], 1) * gain[:, None, None]
    middle = np.array((WINDOW_WIDTH / 2, WINDOW_HEIGHT / 2))
    shift = middle - np.einsum("tij,tj->ti", linear, centre)
    return np.concatenate([linear, shift[:, :, None]], -1).astype(np.float32)


def share_in_picture(window_from_image: np.ndarray, width: int, height: int) -> float:
    """How much of the window [2, 3] lies inside a picture of a size in px: 0 to 1."""
    corners = np.array([(0, 0), (WINDOW_WIDTH, 0), (WINDOW_WIDTH, WINDOW_HEIGHT), (0, WINDOW_HEIGHT)], np.float32)
    window = apply_affine(invert_affine(window_from_image), corners).astype(np.float32)
    picture = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    return float(cv2.intersectConvexConvex(window, picture)[0] / cv2.contourArea(window))


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points: affine [..., 2, 3], points [..., N, 2] -> [..., N, 2]."""
    return points @ np.swapaxes(affine[..., :2], -1, -2) + affine[..., None, :, 2]


def invert_affine(affine: np.ndarray) -> np.ndarray:
    """Turn [..., 2, 3] a_from_b into [..., 2, 3] b_from_a."""
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], -1)


def scale_affine(affine: np.ndarray, factor: float) -> np.ndarray:
    """Make the target of [..., 2, 3] a_from_b finer by a factor."""
    return affine * np.float32(factor)


def box_of_window(
    image_shape: tuple[int, ...], window_from_image: np.ndarray, width: int, height: int, *, margin: int = 0
) -> Box:
    """Find the part of an image that a window sees: px, left, top, right, bottom; it may be empty.

    Args:
        image_shape: (H, W, ...).
        window_from_image: [2, 3].
        width: px of the window.
        height: px of the window.
        margin: px around it.
    """
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float32)
    corners = apply_affine(invert_affine(window_from_image), corners)
    left, top = np.maximum(np.floor(corners.min(0)).astype(int) - margin, 0).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + margin, image_shape[1::-1]).tolist()
    return left, top, right, bottom


def shift_affine(target_from_image: np.ndarray, left: float, top: float) -> np.ndarray:
    """Make [2, 3] target_from_image a map from the part of the image that begins at left and top, px."""
    shifted = target_from_image.copy()
    shifted[:, 2] += target_from_image[:, :2] @ np.array((left, top), np.float32)
    return shifted


def warp_image(image: Pixels, target_from_image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resample an image into a window.

    Shrinking averages over the pixels that fall together, so that nothing aliases.

    Args:
        image: [H, W, 3] uint8; of a Picture, only what the window sees is converted.
        target_from_image: [2, 3].
        width: px of the window.
        height: px of the window.

    Returns:
        [height, width, 3] uint8; the border is repeated outside the image.
    """
    if isinstance(image, (Picture, ChangedPicture)):
        left, top, right, bottom = box_of_window(image.shape, target_from_image, width, height, margin=MARGIN_PX)
        if left < right and top < bottom:
            part = image.part((left, top, right, bottom))
            return warp_image(part, shift_affine(target_from_image, left, top), width, height)
    gain = float(np.sqrt(abs(np.linalg.det(target_from_image[:, :2]))))
    oversample = int(np.clip(np.ceil(1 / gain - 0.25), 1, 8)) if gain < 1 else 1
    affine = scale_affine(target_from_image, oversample).astype(np.float64)
    affine[:, 2] += affine[:, :2].sum(1) * 0.5 - 0.5  # OpenCV counts from the centre of the first pixel
    warped = cv2.warpAffine(
        np.asarray(image),
        affine,
        (width * oversample, height * oversample),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return warped if oversample == 1 else cv2.resize(warped, (width, height), interpolation=cv2.INTER_AREA)
