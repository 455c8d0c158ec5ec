"""Appearance model of a clip's face without occluders: median texture on the mesh, and its deviation over time.

Ours: the paper's examples have no occluders; a dub of people's own clips has to leave hands and cups alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, scale_affine, warp_image, window_from_image
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import LIPS
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.media.picture import Pixels

SHRINK = 2  # colours are looked at at half the window's size
WIDTH, HEIGHT = WINDOW_WIDTH // SHRINK, WINDOW_HEIGHT // SHRINK
PX_PER_IOD = 96.0 / SHRINK
JPEG_QUALITY = 95
LIP_MARGIN_IOD = 0.08  # skin nearer to the lips moves with them
NUM_MODEL_FRAMES = 61
MIN_MODEL_FRAMES = 5  # where fewer show a place without an occluder, all count
REACH = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))  # by how far the fit may be wrong
SPREADS = 2.0  # deviations over time that count as the face's own
FLOOR_LAB = np.array((6, 4, 4), np.float32)  # so do such differences
OUTLIER = 4.0  # Lab distance from all that is the face's own, averaged over 3 px
MAX_STRETCH = 1.8  # of skin seen from the side, which is not looked at
LIGHT_STRIDE, MIN_LIGHT_PLACES = 2, 50
LIGHT_RIDGE = 1e-4, 1e6, 1e6  # against slopes of L, a and b; the last two have none
LOWEST_COLOUR, BIN_LAB = np.array((0, -40, -40), np.float32), np.array((6.25, 5, 5), np.float32)
NUM_BINS = 16


class ColourWindows:
    """The lower face of every frame of a clip, in colour, half the renderer's window, compressed: some 4 kB a frame.

    Args:
        geometry: says where the face is.
    """

    def __init__(self, geometry: FaceGeometry) -> None:
        self.window_from_image = scale_affine(window_from_image(geometry), 1 / SHRINK)
        self._encoded: list[bytes] = []

    def __len__(self) -> int:
        return len(self._encoded)

    def append(self, image: Pixels) -> None:
        """Take the window out of the next frame [H, W, 3] uint8."""
        self.append_window(self.cut(image, len(self)))

    def cut(self, image: Pixels, frame: int) -> np.ndarray:
        """Take a frame's window [80, 96, 3] uint8 out of it."""
        return warp_image(image, self.window_from_image[frame], WIDTH, HEIGHT)

    def append_window(self, window: np.ndarray) -> None:
        """Keep the next frame's window [80, 96, 3] uint8."""
        options = (
            cv2.IMWRITE_JPEG_QUALITY,
            JPEG_QUALITY,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        )
        self._encoded.append(cv2.imencode(".jpg", window, options)[1].tobytes())

    def rgb(self, frame: int) -> np.ndarray:
        """Return a frame's window [80, 96, 3] uint8."""
        # IMREAD_COLOR gives the channels in the order in which they were encoded
        return np.asarray(cv2.imdecode(np.frombuffer(self._encoded[frame], np.uint8), cv2.IMREAD_COLOR), np.uint8)

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return [80, 96, 3] float32, CIE Lab."""
        return cv2.cvtColor(self.rgb(frame).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


@dataclass(frozen=True, kw_only=True)
class FrameAppearance:
    """What a frame's window shows beside what the clip's face explains, on the window's grid.

    Attributes:
        lab: [H, W, 3] in the clip's common light.
        common: [H, W, 3] Lab, the clip's common texture seen through this frame's mesh.
        spread: [H, W, 3] Lab, its deviation over time.
        outlier_distance: [H, W] Lab distance from all that the face explains.
        skin: [H, W] bool, inside the mask, away from the lips, and seen from the front.
        lips: [H, W] bool, the lips and what lies between them and beside them.
        others: [H, W] bool, all of the mesh but the lips, seen from the front.
        mask: [H, W] in [0, 1], the region that is rendered anew.
    """

    lab: np.ndarray
    common: np.ndarray
    spread: np.ndarray
    outlier_distance: np.ndarray
    skin: np.ndarray
    lips: np.ndarray
    others: np.ndarray
    mask: np.ndarray


class Appearance:
    """The colours of a clip's face on its mesh seen from the front, learnt from the clip itself.

    Args:
        mesh: the face mesh.
        geometry: of the clip.
        windows: of its frames.
    """

    def __init__(self, mesh: FaceMesh, geometry: FaceGeometry, windows: ColourWindows) -> None:
        self.mesh, self.geometry, self.windows = mesh, geometry, windows
        self.valid = np.flatnonzero(geometry.valid[: len(windows)])
        frontal = int(self.valid[geometry.rotation[self.valid, 2, 2].argmax()])
        projected = mesh.project(geometry.pose(frontal, geometry.template, windows.window_from_image[frontal]))
        self._canonical = np.ascontiguousarray(projected[:, :2])
        index, barycentric = rasterize(projected, mesh.triangles, HEIGHT, WIDTH)
        mask = mesh.mask(projected, geometry.template, HEIGHT, WIDTH)
        hull = cv2.convexHull(projected[list(LIPS), :2].astype(np.float32))
        lips = cv2.fillConvexPoly(np.zeros((HEIGHT, WIDTH), np.uint8), np.round(hull - 0.5).astype(np.int32), 1)
        near = cv2.distanceTransform(1 - lips, cv2.DIST_L2, 5) < LIP_MARGIN_IOD * PX_PER_IOD
        face = (index >= 0) & (index < len(mesh.face_model.triangles)) & ~near
        self._regions = np.dstack([face & (mask > 0), near, face, index >= 0]).astype(np.uint8)
        self._mask = mask
        self._learn(index, barycentric)

    def _projected(self, frame: int) -> np.ndarray:
        head = self.mesh.face_model.vertices(self.geometry.template, self.geometry.expression[frame : frame + 1])[0]
        return self.mesh.project(self.geometry.pose(frame, head, self.windows.window_from_image[frame]))

    def _learn(self, index: np.ndarray, barycentric: np.ndarray) -> None:
        """Estimate texture and deviation under common illumination, without the outliers of single frames."""
        frames = self.valid[np.unique(np.linspace(0, len(self.valid) - 1, NUM_MODEL_FRAMES).astype(int))]
        textures, seen = [], []
        for frame in frames:
            grid = interpolate(
                index, barycentric, self.mesh.triangles, np.ascontiguousarray(self._projected(int(frame))[:, :2])
            )
            textures.append(sample(self.windows[int(frame)], grid))
            seen.append((stretch(grid) > 1 / MAX_STRETCH) & (index >= 0))
        use = seen = np.stack(seen)
        common = np.median(textures, 0)
        spread = 1.48 * np.median(np.abs(np.stack(textures) - common), 0)
        for _ in range(2):
            counted = use & (self._regions[..., 2] > 0)
            lit = np.stack(
                [t - fit_illumination(t - common, spread, c) for t, c in zip(textures, counted, strict=True)]
            )
            common = masked_median(lit, use)
            spread = 1.48 * masked_median(np.abs(lit - common), use)
            low, high = common - SPREADS * spread, common + SPREADS * spread
            self._low, self._high = cv2.erode(low, REACH) - FLOOR_LAB, cv2.dilate(high, REACH) + FLOOR_LAB
            novel = np.stack([cv2.blur(beyond(x, self._low, self._high), (3, 3)) > OUTLIER for x in lit])
            use = seen & ~novel
            few = use.sum(0) < MIN_MODEL_FRAMES
            use[:, few] = seen[:, few]
        self._common, self._spread = common, spread
        skin, lips = self._regions[..., 0] > 0, self._regions[..., 1] > 0
        clean = (novel & skin).sum((1, 2)) < 0.01 * skin.sum()
        self.mouth_colours = colour_density(lit[clean if clean.any() else slice(None)][:, lips])

    def look(self, frame: int) -> FrameAppearance:
        """Compare a frame with the appearance model."""
        index, barycentric = rasterize(self._projected(frame), self.mesh.triangles, HEIGHT, WIDTH)
        grid = interpolate(index, barycentric, self.mesh.triangles, self._canonical)
        inside = index >= 0
        facing = inside & (stretch(grid) < MAX_STRETCH)
        regions = sample(self._regions, grid, cv2.INTER_NEAREST) * inside[..., None] > 0
        common, spread = sample(self._common, grid), sample(self._spread, grid)
        lab = self.windows[frame]
        lab = lab - fit_illumination(lab - common, spread, regions[..., 2] & facing)
        outlier_distance = cv2.blur(beyond(lab, sample(self._low, grid), sample(self._high, grid)), (3, 3))
        return FrameAppearance(
            lab=lab,
            common=common,
            spread=spread,
            outlier_distance=outlier_distance * inside,
            skin=regions[..., 0] & facing,
            lips=regions[..., 1],
            others=regions[..., 3] & ~regions[..., 1] & facing,
            mask=sample(self._mask, grid) * inside,
        )


def colour_density(lab: np.ndarray) -> np.ndarray:
    """Count colours [..., 3] in bins, smoothed: [16, 16, 16] share of them per cubed unit of Lab."""
    a, b, c = np.moveaxis(_bins(lab.reshape(-1, 3)), -1, 0)
    counts = np.bincount((a * NUM_BINS + b) * NUM_BINS + c, minlength=NUM_BINS**3).astype(np.float32)
    counts = counts.reshape(NUM_BINS, NUM_BINS, NUM_BINS)
    for axis in range(3):
        padded = np.pad(counts, [(int(axis == a),) * 2 for a in range(3)])
        before, here, after = (np.take(padded, np.arange(NUM_BINS) + step, axis) for step in range(3))
        counts = (before + 2 * here + after) / 4
    return counts / (max(counts.sum(), 1) * BIN_LAB.prod())


def density_of(lab: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Look colours [..., 3] up in what `colour_density` counted."""
    return density[tuple(np.moveaxis(_bins(lab), -1, 0))]


def _bins(lab: np.ndarray) -> np.ndarray:
    return np.clip((lab - LOWEST_COLOUR) / BIN_LAB, 0, NUM_BINS - 1).astype(int)


def masked_median(values: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Take the median over frames [T, H, W, C] of those that count [T, H, W]; 0 where none does."""
    ordered = np.sort(np.where(use[..., None], values, np.inf), 0)
    middle = np.maximum(use.sum(0) - 1, 0) // 2
    found = np.take_along_axis(ordered, middle[None, ..., None], 0)[0]
    return np.where(np.isfinite(found), found, 0).astype(np.float32)


def beyond(lab: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[H, W] distance of colours [H, W, 3] from a box of colours; 0 inside."""
    outside = cv2.max(cv2.max(low - lab, lab - high), 0)
    return np.sqrt((outside * outside).sum(-1))


def sample(image: np.ndarray, grid: np.ndarray, how: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Sample an image [h, w, ...] at positions [2, H, W] px (first centre at 0.5); border repeated."""
    x, y = grid - np.float32(0.5)
    return cv2.remap(np.ascontiguousarray(image), x, y, how, borderMode=cv2.BORDER_REPLICATE)


def stretch(grid: np.ndarray) -> np.ndarray:
    """[H, W] how many px of area of what a grid [2, H, W] points into fall on each px of the grid; 0 at the end."""
    (ax, ay), (bx, by) = np.diff(grid, axis=2)[:, :-1], np.diff(grid, axis=1)[:, :, :-1]
    return np.pad(np.abs(ax * by - ay * bx), ((0, 1), (0, 1)))


def fit_illumination(difference: np.ndarray, spread: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Fit the light of a frame: L changes linearly over the window, a and b alike everywhere; outliers count little.

    Args:
        difference: [H, W, 3] Lab, from the common texture.
        spread: [H, W, 3] Lab, of the common texture over time.
        use: [H, W] bool.

    Returns:
        [H, W, 3] to subtract; 0 where too little is seen.
    """
    height, width, _ = difference.shape
    rows, columns = (LIGHT_STRIDE * places for places in np.nonzero(use[::LIGHT_STRIDE, ::LIGHT_STRIDE]))
    if len(rows) < MIN_LIGHT_PLACES:
        return np.zeros_like(difference)
    places = np.stack([np.ones(len(rows)), columns / width - 0.5, rows / height - 0.5])
    values, variance = difference[rows, columns].T.astype(float), (2.0 + spread[rows, columns].T) ** 2
    ridge = np.array([np.diag([1e-9, slope, slope]) for slope in LIGHT_RIDGE]) * len(rows)
    plane = np.zeros((3, 3))
    plane[:, 0] = np.median(values, 1)
    for _ in range(4):
        weight = 1 / ((1 + (values - plane @ places) ** 2 / variance / 4) ** 2 * variance)
        normal = (weight[:, None] * places) @ places.T + ridge
        plane = np.linalg.solve(normal, ((weight * values) @ places.T)[..., None])[..., 0]
    across, down = np.arange(width) / width - 0.5, np.arange(height) / height - 0.5
    fitted = plane[:, 0] + across[:, None] * plane[:, 1] + down[:, None, None] * plane[:, 2]
    return fitted.astype(np.float32)
