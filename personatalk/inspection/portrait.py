"""The portrait: an upright picture of the whole head, which contains the renderer's window."""

from __future__ import annotations

import numpy as np

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, invert_affine, scale_affine, window_from_image
from personatalk.geometry.face_geometry import FaceGeometry

PORTRAIT_WIDTH, PORTRAIT_HEIGHT = 416, 480  # px
PORTRAIT_GAIN = 4 / 3  # px of the portrait for one of the window
WINDOW_MIDDLE = (208.0, 320.0)  # px of the portrait: centre of the window
WINDOW_BOX = (80, 213, 336, 427)  # px of the portrait: left, top, right, bottom of the window

_shift = np.array(WINDOW_MIDDLE) - PORTRAIT_GAIN * np.array((WINDOW_WIDTH / 2, WINDOW_HEIGHT / 2))
PORTRAIT_FROM_WINDOW = np.array(((PORTRAIT_GAIN, 0, _shift[0]), (0, PORTRAIT_GAIN, _shift[1])), np.float32)


def portrait_from_image(geometry: FaceGeometry) -> np.ndarray:
    """[T, 2, 3] similarities from image pixels to the portrait of each frame."""
    affines = window_from_image(geometry) * np.float32(PORTRAIT_GAIN)
    affines[..., 2] += PORTRAIT_FROM_WINDOW[:, 2]
    return affines


def window_from_portrait(scale: float = 1.0) -> np.ndarray:
    """[2, 3] affine from portrait pixels to the window, `scale` times as large as the renderer's."""
    return scale_affine(invert_affine(PORTRAIT_FROM_WINDOW), scale)
