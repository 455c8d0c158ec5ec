"""The portrait: an upright picture of the whole head, which contains the renderer's window."""

from __future__ import annotations

import numpy as np

from personatalk.geometry.camera import (
    WINDOW_HEIGHT,
    WINDOW_WIDTH,
    apply_affine,
    invert_affine,
    scale_affine,
    window_from_image,
)
from personatalk.geometry.face_geometry import FaceGeometry

PORTRAIT_WIDTH, PORTRAIT_HEIGHT = 416, 480  # px
PORTRAIT_GAIN = 4 / 3  # px of the portrait for one of the window
WINDOW_MIDDLE = (208.0, 320.0)  # px of the portrait: centre of the window
WINDOW_BOX = (80, 213, 336, 427)  # px of the portrait: left, top, right, bottom of the window

_shift = np.array(WINDOW_MIDDLE) - PORTRAIT_GAIN * np.array((WINDOW_WIDTH / 2, WINDOW_HEIGHT / 2))
OUTSIDE, FADE_PX = 128, 12.0  # level beyond the frame's border, and px of the picture over which it fades in
PORTRAIT_FROM_WINDOW = np.array(((PORTRAIT_GAIN, 0, _shift[0]), (0, PORTRAIT_GAIN, _shift[1])), np.float32)


def portrait_from_image(geometry: FaceGeometry) -> np.ndarray:
    """[T, 2, 3] similarities from image pixels to the portrait of each frame."""
    affines = window_from_image(geometry) * np.float32(PORTRAIT_GAIN)
    affines[..., 2] += PORTRAIT_FROM_WINDOW[:, 2]
    return affines


def window_from_portrait(scale: float = 1.0) -> np.ndarray:
    """[2, 3] affine from portrait pixels to the window, `scale` times as large as the renderer's."""
    return scale_affine(invert_affine(PORTRAIT_FROM_WINDOW), scale)


def fade_outside(picture: np.ndarray, picture_from_image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Let what lies beyond the border of a frame fade to grey, where repeated border pixels would look like the frame.

    Args:
        picture: [h, w, 3] uint8, cut out of the frame.
        picture_from_image: [2, 3] similarity.
        width: px of the frame.
        height: px of the frame.
    """
    h, w = picture.shape[:2]
    image_from_picture = invert_affine(picture_from_image)
    px = np.stack(np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5), -1)
    x, y = np.moveaxis(apply_affine(image_from_picture, px.reshape(-1, 2)).reshape(h, w, 2), -1, 0)
    beyond = np.maximum.reduce([-x, x - width, -y, y - height, np.zeros_like(x)])
    gain = np.sqrt(abs(np.linalg.det(picture_from_image[:, :2])))
    kept = np.clip(1 - beyond * gain / FADE_PX, 0, 1)[..., None]
    return (OUTSIDE + kept * (picture.astype(np.float32) - OUTSIDE)).round().astype(np.uint8)
