"""Rendered face to full frame: the attention's weights are applied to the source video's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, box_of_window, shift_affine
from personatalk.geometry.mesh import MAP_STRIDE
from personatalk.kernels import kernel
from personatalk.media.picture import Pixels, part_of

ONE, LEVELS, PER_STRIDE = np.float32(1), np.float32(255), np.float32(1 / MAP_STRIDE)  # double precision is slower
LEAST_WEIGHT = np.float32(1e-4)  # of a reference in a pixel


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one window is put together, on the renderer's grid.

    Attributes:
        weights: [R, h, w] of each reference, lip references first; each kind sums to 1.
        offsets: [R, 2, h, w] px of the references' windows.
        gate: [H, W] share of the lip sample.
        residual: [3, H, W] added, in [-1, 1].
        num_lip: how many of the references are lip references.
        interior: [3, H, W] in [0, 1], the painted inside of the mouth; None where none was painted.
        interior_share: [H, W] in [0, 1], how far it replaces what the references gave.
    """

    weights: np.ndarray
    offsets: np.ndarray
    gate: np.ndarray
    residual: np.ndarray
    num_lip: int
    interior: np.ndarray | None = None
    interior_share: np.ndarray | None = None


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


def cut_crop(image: Pixels, window_from_image: np.ndarray) -> Crop | None:
    """Cut the window's bounding box out of a frame; None where it lies outside.

    Args:
        image: [H, W, 3] uint8.
        window_from_image: [2, 3].
    """
    left, top, right, bottom = box_of_window(image.shape, window_from_image, WINDOW_WIDTH, WINDOW_HEIGHT)
    if right - left < 8 or bottom - top < 8:
        return None
    cut, window_from_crop = part_of(image, (left, top, right, bottom)), shift_affine(window_from_image, left, top)
    return Crop(left=left, top=top, image=cut, window_from_crop=window_from_crop)


def offsets_in_crop(offsets: np.ndarray, window_from_crop: np.ndarray) -> np.ndarray:
    """Turn offsets [2, h, w] from px of a reference's window into px of its crop."""
    return np.einsum("ij,jhw->ihw", np.linalg.inv(window_from_crop[:, :2]), offsets).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Raster:
    """The target geometry, rasterised over a crop.

    Attributes:
        index: [h, w] triangle of each pixel.
        barycentric: [h, w, 3].
        triangles: [F, 3].
    """

    index: np.ndarray
    barycentric: np.ndarray
    triangles: np.ndarray


def composite(
    target: Crop, mask: np.ndarray, raster: Raster, references: list[Crop], *, projected: np.ndarray, plan: Plan
) -> np.ndarray:
    """Put a rendered face into the frame's own pixels.

    Where the mask is 0 the source's pixels come back untouched.

    Args:
        target: the crop to fill.
        mask: [h, w] in [0, 1], on the crop.
        raster: of the target geometry, on the crop.
        references: R crops, lip references first.
        projected: [R, N, 2] px, the references' vertices in their crops.
        plan: of the renderer.

    Returns:
        [h, w, 3] uint8
    """
    shapes = np.array([crop.image.shape[:2] for crop in references], np.int64)
    starts = np.concatenate([[0], np.cumsum(shapes.prod(1))[:-1]])
    pixels = np.concatenate([*(crop.image.ravel() for crop in references), np.zeros(4, np.uint8)])  # see `_sharp`
    offsets = np.stack(
        [offsets_in_crop(o, crop.window_from_crop) for o, crop in zip(plan.offsets, references, strict=True)]
    )
    has_interior = plan.interior is not None and plan.interior_share is not None
    return _composite(
        target.image,
        mask,
        raster.index,
        raster.barycentric,
        raster.triangles,
        target.window_from_crop.astype(np.float32),
        pixels,
        starts,
        shapes,
        np.ascontiguousarray(projected, np.float32),
        plan.weights,
        offsets,
        plan.gate,
        plan.residual,
        plan.num_lip,
        plan.interior if has_interior else plan.residual,
        plan.interior_share if has_interior else np.zeros_like(plan.gate),
    )


@kernel(
    "uint8[:, :, ::1], float32[:, ::1], int32[:, ::1], float32[:, :, ::1], int32[:, ::1], float32[:, ::1], uint8[::1], "
    "int64[::1], int64[:, ::1], float32[:, :, ::1], float32[:, :, ::1], float32[:, :, :, ::1], float32[:, ::1], "
    "float32[:, :, :], int64, float32[:, :, :], float32[:, ::1]",
    fastmath=True,
)
def _composite(
    image,
    mask,
    index,
    barycentric,
    triangles,
    window_from_crop,
    pixels,
    starts,
    shapes,
    projected,
    weights,
    offsets,
    gate,
    residual,
    num_lip,
    interior,
    interior_share,
):
    height, width = mask.shape
    out, columns = image.copy(), np.empty(16, np.float32)
    for row in range(height):
        for column in range(width):
            alpha = mask[row, column]
            f = index[row, column]
            if alpha <= 0 or f < 0:
                continue
            cx, cy = column + np.float32(0.5), row + np.float32(0.5)
            wx = window_from_crop[0, 0] * cx + window_from_crop[0, 1] * cy + window_from_crop[0, 2]
            wy = window_from_crop[1, 0] * cx + window_from_crop[1, 1] * cy + window_from_crop[1, 2]
            at = _between(wx, wy, gate.shape[0], gate.shape[1])
            lip_share = _mix(gate, at)
            red, green, blue = _mix(residual[0], at), _mix(residual[1], at), _mix(residual[2], at)
            red, green, blue = red * LEVELS, green * LEVELS, blue * LEVELS
            a, b, c = triangles[f]
            u, v, w = barycentric[row, column]
            painted = _mix(interior_share, at)
            from_references = ONE - painted
            red, green, blue = red * from_references, green * from_references, blue * from_references
            if painted > 0:
                amount = painted * LEVELS
                red = red + amount * _mix(interior[0], at)
                green = green + amount * _mix(interior[1], at)
                blue = blue + amount * _mix(interior[2], at)
            at = _between(wx * PER_STRIDE, wy * PER_STRIDE, weights.shape[1], weights.shape[2])
            for r in range(len(starts)):
                weight = _mix(weights[r], at) * (lip_share if r < num_lip else ONE - lip_share) * from_references
                if weight < LEAST_WEIGHT:
                    continue
                px = u * projected[r, a, 0] + v * projected[r, b, 0] + w * projected[r, c, 0] + _mix(offsets[r, 0], at)
                py = u * projected[r, a, 1] + v * projected[r, b, 1] + w * projected[r, c, 1] + _mix(offsets[r, 1], at)
                sample = _sharp(pixels, starts[r], shapes[r, 0], shapes[r, 1], px, py, columns)
                red, green, blue = red + weight * sample[0], green + weight * sample[1], blue + weight * sample[2]
            out[row, column, 0] = _blend(image[row, column, 0], red, alpha)
            out[row, column, 1] = _blend(image[row, column, 1], green, alpha)
            out[row, column, 2] = _blend(image[row, column, 2], blue, alpha)
    return out


@numba.njit(cache=True, nogil=True, inline="always")
def _blend(below, above, alpha):
    below = np.float32(below)
    return np.uint8(min(max(below + alpha * (above - below) + np.float32(0.5), np.float32(0)), np.float32(255)))


@numba.njit(cache=True, nogil=True, inline="always")
def _between(x, y, height, width):
    """Find the rows and columns around a place (first centre at 0.5), and how far between them it lies.

    The border is repeated.
    """
    x = min(max(x - np.float32(0.5), np.float32(0)), np.float32(width - 1))
    y = min(max(y - np.float32(0.5), np.float32(0)), np.float32(height - 1))
    x0, y0 = int(x), int(y)
    return y0, min(y0 + 1, height - 1), x0, min(x0 + 1, width - 1), np.float32(y - y0), np.float32(x - x0)


@numba.njit(cache=True, nogil=True, inline="always")
def _mix(values, at):
    """Read a map [H, W] between four of its places, as `_between` found them."""
    y0, y1, x0, x1, fy, fx = at
    upper = values[y0, x0] + fx * (values[y0, x1] - values[y0, x0])
    lower = values[y1, x0] + fx * (values[y1, x1] - values[y1, x0])
    return upper + fy * (lower - upper)


@numba.njit(cache=True, nogil=True, inline="always")
def _cubic(t):
    """Weights of four neighbours for a place a share t of the way from the second to the third (Catmull-Rom)."""
    half, two, three, four, five = (np.float32(0.5), np.float32(2), np.float32(3), np.float32(4), np.float32(5))
    return (
        half * t * (t * (two - t) - ONE),
        half * (t * t * (three * t - five) + two),
        half * t * (ONE + t * (four - three * t)),
        half * t * t * (t - ONE),
    )


@numba.njit(cache=True, nogil=True, inline="always")
def _sharp(pixels, start, height, width, x, y, columns):
    """Read a colour between pixels of an image that begins at `start`, by cubic interpolation, as linear one blurs.

    `columns` [16] is room for the channels of four columns, which are mixed over the rows first; they lie side by side
    in `pixels`, so that vectorises. Sixteen numbers are one step, so four more are read, and left alone.
    """
    y0, _, x0, _, fy, fx = _between(x, y, height, width)
    one, two, three, four = _cubic(fx)
    rows = _cubic(fy)
    if 0 < x0 < width - 2 and 0 < y0 < height - 2:
        first, step = np.uintp(3 * (start + (y0 - 1) * width + x0 - 1)), np.uintp(3 * width)
        for i in range(len(columns)):  # a constant would be unrolled instead
            k = first + np.uintp(i)
            upper = rows[0] * np.float32(pixels[k]) + rows[1] * np.float32(pixels[k + step])
            k += step + step
            columns[i] = upper + rows[2] * np.float32(pixels[k]) + rows[3] * np.float32(pixels[k + step])
    else:
        for j in range(4):
            column = min(max(x0 + j - 1, 0), width - 1)
            for channel in range(3):
                mixed = np.float32(0)
                for i in range(4):
                    row = min(max(y0 + i - 1, 0), height - 1)
                    mixed += rows[i] * np.float32(pixels[3 * (start + row * width + column) + channel])
                columns[3 * j + channel] = mixed
    return (
        one * columns[0] + two * columns[3] + three * columns[6] + four * columns[9],
        one * columns[1] + two * columns[4] + three * columns[7] + four * columns[10],
        one * columns[2] + two * columns[5] + three * columns[8] + four * columns[11],
    )
