"""Rendered face to full frame: the attention's weights are applied to the source video's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from personatalk.camera import WINDOW_HEIGHT, WINDOW_WIDTH, apply_affine, invert_affine
from personatalk.geometry_maps import MAP_STRIDE


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one window is put together, on the renderer's grid.

    Attributes:
        weights: [R, h, w] of each reference, lip references first; each kind sums to 1.
        offsets: [R, 2, h, w] px of the references' windows.
        gate: [H, W] share of the lip sample.
        residual: [3, H, W] added, in [-1, 1].
        num_lip: how many of the references are lip references.
    """

    weights: np.ndarray
    offsets: np.ndarray
    gate: np.ndarray
    residual: np.ndarray
    num_lip: int


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The part of a frame that the window sees, in the frame's own pixels.

    Attributes:
        left: px in the frame.
        top: px in the frame.
        image: [h, w, 3] uint8.
        window_from_crop: [2, 3].
    """

    left: int
    top: int
    image: np.ndarray
    window_from_crop: np.ndarray

    @property
    def crop_from_image(self) -> np.ndarray:
        """[2, 3] the shift from the frame to the crop."""
        return np.array([[1, 0, -self.left], [0, 1, -self.top]], np.float32)


def cut_crop(image: np.ndarray, window_from_image: np.ndarray) -> Crop | None:
    """Cut the window's bounding box out of a frame; None where it lies outside.

    Args:
        image: [H, W, 3] uint8.
        window_from_image: [2, 3].
    """
    corners = np.array([(0, 0), (WINDOW_WIDTH, 0), (0, WINDOW_HEIGHT), (WINDOW_WIDTH, WINDOW_HEIGHT)], np.float32)
    corners = apply_affine(invert_affine(window_from_image), corners)
    left, top = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(0)), image.shape[1::-1]).astype(int)
    if right - left < 8 or bottom - top < 8:
        return None
    window_from_crop = window_from_image.copy()
    window_from_crop[:, 2] += window_from_image[:, :2] @ np.array((left, top), np.float32)
    cut = np.ascontiguousarray(image[top:bottom, left:right])
    return Crop(left=int(left), top=int(top), image=cut, window_from_crop=window_from_crop)


def offsets_in_crop(offsets: np.ndarray, window_from_crop: np.ndarray) -> np.ndarray:
    """Turn offsets [2, h, w] from px of a reference's window into px of its crop."""
    return np.einsum("ij,jhw->ihw", np.linalg.inv(window_from_crop[:, :2]), offsets).astype(np.float32)


def composite(
    target: Crop,
    mask: np.ndarray,
    index: np.ndarray,
    barycentric: np.ndarray,
    triangles: np.ndarray,
    references: list[Crop],
    placed: np.ndarray,
    plan: Plan,
) -> np.ndarray:
    """Put a rendered face into the frame's own pixels.

    Where the mask is 0 the source's pixels come back untouched.

    Args:
        target: the crop to fill.
        mask: [h, w] in [0, 1], on the crop.
        index: [h, w] triangle of each pixel of the crop, of the target geometry.
        barycentric: [h, w, 3].
        triangles: [F, 3].
        references: R crops, lip references first.
        placed: [R, N, 2] px, the references' vertices in their crops.
        plan: of the renderer.

    Returns:
        [h, w, 3] uint8
    """
    shapes = np.array([crop.image.shape[:2] for crop in references], np.int64)
    starts = np.concatenate([[0], np.cumsum(shapes.prod(1))[:-1]])
    pixels = np.concatenate([crop.image.reshape(-1, 3) for crop in references])
    offsets = np.stack(
        [offsets_in_crop(o, crop.window_from_crop) for o, crop in zip(plan.offsets, references, strict=True)]
    )
    return _composite(
        target.image, mask, index, barycentric, triangles, target.window_from_crop.astype(np.float32), pixels, starts,
        shapes, np.ascontiguousarray(placed, np.float32), plan.weights, offsets, plan.gate, plan.residual, plan.num_lip,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)  # frames are composited side by side, on threads of their own
def _composite(
    image, mask, index, barycentric, triangles, window_from_crop, pixels, starts, shapes, placed, weights, offsets,
    gate, residual, num_lip,
):  # fmt: skip
    height, width = mask.shape
    count = len(starts)
    out = image.copy()
    for row in range(height):
        corner = np.zeros(4, np.int64)
        share = np.zeros(4, np.float32)
        for column in range(width):
            alpha = mask[row, column]
            f = index[row, column]
            if alpha <= 0 or f < 0:
                continue
            cx, cy = column + np.float32(0.5), row + np.float32(0.5)
            wx = window_from_crop[0, 0] * cx + window_from_crop[0, 1] * cy + window_from_crop[0, 2]
            wy = window_from_crop[1, 0] * cx + window_from_crop[1, 1] * cy + window_from_crop[1, 2]
            _corners(wx, wy, gate.shape[0], gate.shape[1], corner, share)
            lip_share, red, green, blue = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for i in range(4):
                y, x = corner[i] // gate.shape[1], corner[i] % gate.shape[1]
                lip_share += share[i] * gate[y, x]
                red += share[i] * residual[0, y, x]
                green += share[i] * residual[1, y, x]
                blue += share[i] * residual[2, y, x]
            red, green, blue = red * 255, green * 255, blue * 255
            a, b, c = triangles[f]
            u, v, w = barycentric[row, column]
            h, wd = weights.shape[1:]
            for r in range(count):
                _corners(wx / MAP_STRIDE, wy / MAP_STRIDE, h, wd, corner, share)
                weight, ox, oy = np.float32(0), np.float32(0), np.float32(0)
                for i in range(4):
                    y, x = corner[i] // wd, corner[i] % wd
                    weight += share[i] * weights[r, y, x]
                    ox += share[i] * offsets[r, 0, y, x]
                    oy += share[i] * offsets[r, 1, y, x]
                weight *= lip_share if r < num_lip else 1 - lip_share
                if weight < 1e-4:
                    continue
                px = u * placed[r, a, 0] + v * placed[r, b, 0] + w * placed[r, c, 0] + ox
                py = u * placed[r, a, 1] + v * placed[r, b, 1] + w * placed[r, c, 1] + oy
                _corners(px, py, shapes[r, 0], shapes[r, 1], corner, share)
                for i in range(4):
                    at = starts[r] + corner[i]
                    red += weight * share[i] * pixels[at, 0]
                    green += weight * share[i] * pixels[at, 1]
                    blue += weight * share[i] * pixels[at, 2]
            out[row, column, 0] = _blend(image[row, column, 0], red, alpha)
            out[row, column, 1] = _blend(image[row, column, 1], green, alpha)
            out[row, column, 2] = _blend(image[row, column, 2], blue, alpha)
    return out


@numba.njit(cache=True, nogil=True, inline="always")
def _blend(below, above, alpha):
    return np.uint8(min(max(below + alpha * (above - below) + 0.5, 0.0), 255.0))


@numba.njit(cache=True, nogil=True, inline="always")
def _corners(x, y, height, width, corner, share):
    """Find the four pixels around a place (first centre at 0.5) and their bilinear shares; the border is repeated."""
    x = min(max(x - np.float32(0.5), np.float32(0)), np.float32(width - 1))
    y = min(max(y - np.float32(0.5), np.float32(0)), np.float32(height - 1))
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    fx, fy = np.float32(x - x0), np.float32(y - y0)
    corner[0], corner[1], corner[2], corner[3] = y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1
    share[0], share[1], share[2], share[3] = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
