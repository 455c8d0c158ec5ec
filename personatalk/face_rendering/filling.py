"""References without what stands before the face: hidden places are filled smoothly from around them.

Where a thing stays before the face in most frames, the frames that show it must serve as references. Their hidden
places are seen in a dub where the thing has moved on; without filling, its edge would be pasted onto the skin.
"""

from __future__ import annotations

import cv2
import numpy as np

MARGIN_SHARE = 0.03  # of an image's height, around what hides: its soft edge and its shadow
LEAST = 1e-3  # of a place's weight, below which nothing is known of it


def fill_hidden(image: np.ndarray, hidden: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Fill the hidden places of an image from the nearest of the face that are not, the coarser the farther these are.

    Args:
        image: [H, W, 3] uint8.
        hidden: [H, W] in [0, 1], how far something stands before each place.
        face: [H, W] bool, where the face is, hidden or not.

    Returns:
        [H, W, 3] uint8; the image itself where nothing is hidden, or all of the face is.

    Source: push-pull interpolation (Gortler et al., "The Lumigraph", 1996).
    """
    side = 2 * max(1, round(MARGIN_SHARE * len(image))) + 1
    behind = hidden > 0
    reach = cv2.dilate(behind.view(np.uint8), np.ones((side, side), np.uint8))
    shown = (face & (reach == 0)).astype(np.float32)
    if not behind.any() or not shown.any():
        return image
    filled = _pull(image.astype(np.float32) * shown[..., None], shown)
    soft = cv2.blur(reach.astype(np.float32), (side, side)) * reach
    soft = np.maximum(soft, behind)[..., None]
    return np.clip(image + soft * (filled - image) + 0.5, 0, 255).astype(np.uint8)


def _pull(colours: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Spread colours [H, W, 3], which are weighed by [H, W], to where the weight is 0: [H, W, 3]."""
    known = np.minimum(weight, 1)[..., None]
    local = colours / np.maximum(weight, LEAST)[..., None]
    if known.min() > LEAST or min(weight.shape) < 2:
        return local
    coarse = _pull(cv2.pyrDown(colours), cv2.pyrDown(weight))
    coarse = cv2.resize(coarse, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return coarse + known * (local - coarse)
