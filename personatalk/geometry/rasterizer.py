"""Meshes to pixel maps: which triangle a pixel lies in, and anything interpolated over it."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numba
import numpy as np
from torch import Tensor

from personatalk.kernels import kernel

FAR = np.float32(1e9)
LEVEL = 1e-9  # change from one column to the next that counts as none
TOUCHING = 1e-6  # of barycentric coordinates: an edge belongs to both of its sides, or rounding would leave gaps
Array = TypeVar("Array", np.ndarray, Tensor)


class Rasterizer(Protocol[Array]):
    """Finds the nearest triangle under each pixel centre: `rasterize` here, or that of `pytorch3d_rasterizer`."""

    def __call__(self, vertices: Array, triangles: Array, height: int, width: int, /) -> tuple[Array, Array]:
        """Return the index [H, W] int32, -1 where there is none, and barycentric coordinates [H, W, 3].

        Args:
            vertices: [N, 3] px; x right, y down, z away. First pixel centre at (0.5, 0.5).
            triangles: [F, 3].
            height: px.
            width: px.
        """
        ...


@kernel("float32[:, ::1], int32[:, ::1], int64, int64")
def rasterize(vertices: np.ndarray, triangles: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest triangle under each pixel centre.

    Args:
        vertices: [N, 3] px; x right, y down, z away. First pixel centre at (0.5, 0.5).
        triangles: [F, 3].
        height: px.
        width: px.

    Returns:
        index [H, W] int32, -1 where there is none; barycentric [H, W, 3] float32.
    """
    index = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), FAR, np.float32)
    for f in range(len(triangles)):
        a, b, c = triangles[f]
        ax, ay, bx, by, cx, cy = (
            vertices[a, 0],
            vertices[a, 1],
            vertices[b, 0],
            vertices[b, 1],
            vertices[c, 0],
            vertices[c, 1],
        )
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        per_area = 1 / area
        u_step, v_step = (by - cy) * per_area, (cy - ay) * per_area  # from one column to the next
        w_step = -u_step - v_step
        u_columns, v_columns, w_columns = _per(u_step), _per(v_step), _per(w_step)
        az, bz, cz = vertices[a, 2], vertices[b, 2], vertices[c, 2]
        x0, x1 = max(0, int(np.floor(min(ax, bx, cx) - 0.5))), min(width - 1, int(np.ceil(max(ax, bx, cx) - 0.5)))
        y0, y1 = max(0, int(np.floor(min(ay, by, cy) - 0.5))), min(height - 1, int(np.ceil(max(ay, by, cy) - 0.5)))
        for row in range(y0, y1 + 1):
            px, py = x0 + 0.5, row + 0.5
            u_first = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * per_area
            v_first = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * per_area
            first, last = _narrow(u_first, u_columns, 0.0, float(x1 - x0))
            first, last = _narrow(v_first, v_columns, first, last)
            first, last = _narrow(1 - u_first - v_first, w_columns, first, last)
            for column in range(x0 + int(first), min(x0 + int(last + 1), x1) + 1):
                u, v = u_first + (column - x0) * u_step, v_first + (column - x0) * v_step
                w = 1 - u - v
                if u < -TOUCHING or v < -TOUCHING or w < -TOUCHING:
                    continue
                z = u * az + v * bz + w * cz
                if z < depth[row, column]:
                    depth[row, column] = z
                    index[row, column] = f
                    barycentric[row, column, 0] = u
                    barycentric[row, column, 1] = v
                    barycentric[row, column, 2] = w
    return index, barycentric


@numba.njit(cache=True, nogil=True)
def _per(step):
    """Columns for a change of one, where each changes by a step; 0 where it does not change."""
    return 1 / step if abs(step) > LEVEL else 0.0


@numba.njit(cache=True, nogil=True)
def _narrow(value, columns, first, last):
    """Narrow columns first .. last down to those in which a coordinate is -TOUCHING or more, with some to spare.

    It is `value` in column 0 and rises by one every so many columns.
    """
    crossing = -(value + 2 * TOUCHING) * columns
    if columns > 0:
        return max(first, crossing - 0.01), last
    if columns < 0:
        return first, min(last, crossing + 0.01)
    return first, last


def interpolate(
    index: np.ndarray,
    barycentric: np.ndarray,
    triangles: np.ndarray,
    attributes: np.ndarray,
    outside: float = 0.0,
) -> np.ndarray:
    """Spread vertex attributes over the pixels.

    Args:
        index: [H, W] from `rasterize`.
        barycentric: [H, W, 3] from `rasterize`.
        triangles: [F, 3].
        attributes: [N, C].
        outside: what stands where there is no triangle.

    Returns:
        [C, H, W] float32; `outside` where there is no triangle.
    """
    return _interpolate(index, barycentric, triangles, attributes, np.float32(outside))


@kernel("int32[:, ::1], float32[:, :, ::1], int32[:, ::1], float32[:, ::1], float32")
def _interpolate(index, barycentric, triangles, attributes, outside):
    height, width = index.shape
    channels = attributes.shape[1]
    pixels = np.full((channels, height, width), outside, np.float32)
    for row in range(height):
        for column in range(width):
            f = index[row, column]
            if f < 0:
                continue
            a, b, c = triangles[f]
            u, v, w = barycentric[row, column]
            for k in range(channels):
                pixels[k, row, column] = u * attributes[a, k] + v * attributes[b, k] + w * attributes[c, k]
    return pixels
