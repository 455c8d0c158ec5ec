"""Detail restoration: high frequencies that averaging and resampling took from a finished face are amplified.

A weighted mean of several resampled references has the right colours and too little high-frequency energy: pores,
stubble, edges of teeth. The target energy is known: that of the references at the places where the pixels come from.

Ours: at native resolution it raises the sharpness of the lips; `evaluate native` measures it.
"""

from __future__ import annotations

import cv2
import numpy as np

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, invert_affine, scale_affine
from personatalk.geometry.mesh import MAP_STRIDE

MAP_SIZE = (WINDOW_WIDTH // MAP_STRIDE, WINDOW_HEIGHT // MAP_STRIDE)
DETAIL_PX = 1.2  # of the image's own pixels; what is finer is strengthened
FINEST_PX = 0.6  # what is finer than this says by how much, because it suffers most
NEIGHBOURHOOD_PX = 10.0  # of the window, over which the strength of detail is averaged
MAX_GAIN = 1.8
INNER = 1 - 1e-6  # of the mask; where it is more, nothing of the source is left
EDGE_PX = 3.0  # of the image's own pixels, over which the gain sets in
FLOOR = 0.05  # squared levels of 255: what is weaker is left alone


def detail_of(image: np.ndarray, region: np.ndarray | None = None, *, finer_than_px: float = DETAIL_PX) -> np.ndarray:
    """What is finer than a scale in an image.

    Args:
        image: [H, W] or [H, W, 3] in [0, 255].
        region: [H, W] bool; pixels outside have no say, and no detail.

    Returns:
        as image, float32
    """
    image = image.astype(np.float32)
    if region is None:
        return image - cv2.GaussianBlur(image, (0, 0), finer_than_px)
    share = np.maximum(cv2.GaussianBlur(region.astype(np.float32), (0, 0), finer_than_px), np.float32(1e-3))
    inside = region if image.ndim == 2 else region[..., None]
    blurred = cv2.GaussianBlur(image * inside, (0, 0), finer_than_px)
    return (image - blurred / (share if image.ndim == 2 else share[..., None])) * inside


def detail_energy(image: np.ndarray, window_from_image: np.ndarray, region: np.ndarray | None = None) -> np.ndarray:
    """Mean square of the detail around each place of the renderer's map.

    Args:
        image: [H, W, 3] in [0, 255].
        window_from_image: [2, 3].
        region: [H, W] bool; pixels outside have no say.

    Returns:
        [40, 48] squared levels of the luma
    """
    luma = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)
    sigma = max(1.0, NEIGHBOURHOOD_PX / float(np.sqrt(abs(np.linalg.det(window_from_image[:, :2])))) / 2)
    shrink = max(1.0, sigma / 2)  # a wide blur costs less on a small picture
    energy = _blur_small(detail_of(luma, region, finer_than_px=FINEST_PX) ** 2, shrink, sigma)
    if region is not None:
        energy /= np.maximum(_blur_small(region.astype(np.float32), shrink, sigma), np.float32(1e-3))
    map_from_small = scale_affine(window_from_image, 1 / MAP_STRIDE).astype(np.float64)
    map_from_small[:, :2] *= np.divide(luma.shape[::-1], energy.shape[::-1])
    map_from_small[:, 2] += map_from_small[:, :2].sum(1) * 0.5 - 0.5  # OpenCV counts from the first pixel's centre
    return cv2.warpAffine(energy, map_from_small, MAP_SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _blur_small(image: np.ndarray, shrink: float, sigma: float) -> np.ndarray:
    size = [max(1, round(length / shrink)) for length in image.shape[1::-1]]
    return cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / shrink)


def wanted_energy(
    energies: list[np.ndarray], grids: np.ndarray, weights: np.ndarray, gate: np.ndarray, num_lip: int
) -> np.ndarray:
    """Say how strong the detail of a face should be, from where its pixels come.

    Args:
        energies: R of [40, 48], of the references, lip references first.
        grids: [R, 160, 192, 2] px, where each pixel of the window lies in each reference's.
        weights: [R, 40, 48]; those of either kind sum to 1.
        gate: [160, 192] share of the lip references.
        num_lip: how many of the references are lip references.

    Returns:
        [40, 48] squared levels of the luma
    """
    lip_share = cv2.resize(gate, MAP_SIZE, interpolation=cv2.INTER_AREA)
    wanted = np.zeros(MAP_SIZE[::-1], np.float32)
    after = MAP_STRIDE // 2  # the middle of a place of the map lies between two pixels
    before = after - 1
    centres = (grids[:, before::MAP_STRIDE, before::MAP_STRIDE] + grids[:, after::MAP_STRIDE, after::MAP_STRIDE]) / 2
    for index, energy in enumerate(energies):
        x, y = np.moveaxis(centres[index] / MAP_STRIDE - 0.5, -1, 0)
        there = cv2.remap(
            energy, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        wanted += there * weights[index] * (lip_share if index < num_lip else 1 - lip_share)
    return wanted


def restore_detail(
    filled: np.ndarray, mask: np.ndarray, wanted: np.ndarray, window_from_image: np.ndarray
) -> np.ndarray:
    """Strengthen the detail of a finished face until it is as strong as wanted.

    Only where nothing of the source shines through: otherwise its true mouth would have a say.

    Args:
        filled: [H, W, 3] uint8, with the face in it.
        mask: [H, W] in [0, 1], the share of the face.
        wanted: [40, 48] squared levels of the luma.
        window_from_image: [2, 3].

    Returns:
        [H, W, 3] uint8
    """
    inner = mask > INNER
    if not inner.any():
        return filled
    there = detail_energy(filled, window_from_image, inner)
    gain = np.clip(np.sqrt((wanted + FLOOR) / (there + FLOOR)), 1, MAX_GAIN) - 1
    image_from_map = invert_affine(scale_affine(window_from_image, 1 / MAP_STRIDE)).astype(np.float64)
    image_from_map[:, 2] += image_from_map[:, :2].sum(1) * 0.5 - 0.5
    size = filled.shape[1::-1]
    gain = cv2.warpAffine(gain, image_from_map, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rows, columns = (np.flatnonzero(inner.any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    sets_in = np.clip(2 * cv2.GaussianBlur(np.pad(inner[box], 1).astype(np.float32), (0, 0), EDGE_PX) - 1, 0, 1)
    added = (gain[box] * sets_in[1:-1, 1:-1])[..., None] * detail_of(filled[box], inner[box])
    restored = filled.copy()
    restored[box] = np.clip(np.round(filled[box] + added), 0, 255).astype(np.uint8)
    return restored
