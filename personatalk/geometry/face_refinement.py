"""Photometric refinement of the geometry: the frames of a clip are laid on one another, and the face is fitted again.

The tracker places its landmarks in each frame anew, a pixel here or there. Seen through the mesh, all frames
of a clip should show the same skin at the same place; optical flow to their median says by how much they do not.
The lips are left to the tracker: an open mouth has no counterpart in the median.

Ours: the paper says "hybrid", not how.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import cv2
import numpy as np
from scipy.spatial.distance import cdist

from personatalk.concurrency import map_in_order, num_workers
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, invert_affine, warp_image, window_from_image
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import LIPS, NUM_VERTICES, smoothstep
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.geometry.tracking import FaceTrack
from personatalk.media.picture import Pixels
from personatalk.progress import Tick, no_tick

ROUNDS = 2
NUM_MEDIAN_FRAMES = 41
FLOW_PRESET = cv2.DISOPTICAL_FLOW_PRESET_FAST  # measured: MEDIUM takes twice as long and is no better
MAX_FLOW_PX = 6.0
COARSE = 4  # flow and light are smoothed at a quarter of the window
FLOW_SMOOTHING_PX = 5.0
LIGHT_SCALE_PX = 10.0  # differences coarser than this are light
LIP_DISTANCES = (0.03, 0.1)  # IOD: nearer to the lips the tracker stands, farther the flow is believed
JPEG_QUALITY = 95


class GreyWindows:
    """The renderer's window of every frame of a clip, grey and compressed: some 6 kB a frame.

    Args:
        geometry: says where the face is.
    """

    def __init__(self, geometry: FaceGeometry) -> None:
        self.window_from_image = window_from_image(geometry)
        self._encoded: list[bytes] = []

    def __len__(self) -> int:
        return len(self._encoded)

    def append(self, image: Pixels) -> None:
        """Take the window out of the next frame [H, W, 3] uint8."""
        window = warp_image(image, self.window_from_image[len(self)], WINDOW_WIDTH, WINDOW_HEIGHT)
        grey = cv2.cvtColor(window, cv2.COLOR_RGB2GRAY)
        self._encoded.append(cv2.imencode(".jpg", grey, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes())

    def __getitem__(self, frame: int) -> np.ndarray:
        """Return [160, 192] uint8."""
        return np.asarray(cv2.imdecode(np.frombuffer(self._encoded[frame], np.uint8), cv2.IMREAD_GRAYSCALE))


def refine_geometry(
    track: FaceTrack, geometry: FaceGeometry, windows: GreyWindows, mesh: FaceMesh, *, tick: Tick = no_tick
) -> FaceGeometry:
    """Fit a track again, with landmarks that agree with what the frames show.

    Args:
        track: of the clip.
        geometry: fitted to it.
        windows: of the clip's frames, cut by this geometry; where fewer than there are frames, the rest stays.
        mesh: the face mesh.
        tick: called ROUNDS times a frame.
    """
    image_from_window = invert_affine(windows.window_from_image)[:, :, :2]
    landmarks = track.landmarks.copy()
    for _ in range(ROUNDS):
        for frame, steps in landmark_steps(geometry, windows, mesh):
            landmarks[frame, :NUM_VERTICES, :2] += steps @ image_from_window[frame].T
            tick()
        geometry = fit_track(replace(track, landmarks=landmarks), mesh.face_model)
    return geometry


def landmark_steps(geometry: FaceGeometry, windows: GreyWindows, mesh: FaceMesh) -> Iterator[tuple[int, np.ndarray]]:
    """Find by how much each frame's landmarks miss the clip's common texture.

    Yields:
        (frame, steps [V, 2] px of the window) for each valid frame; 0 for vertices outside of the window.
    """
    valid = np.flatnonzero(geometry.valid[: len(windows)])
    frontal = int(valid[geometry.rotation[valid, 2, 2].argmax()])
    canonical = mesh.project(geometry.pose(frontal, geometry.template, windows.window_from_image[frontal]))
    index, barycentric = rasterize(canonical, mesh.triangles, WINDOW_HEIGHT, WINDOW_WIDTH)
    inside = index >= 0
    points = canonical[:NUM_VERTICES, :2]
    trust = vertex_trust(points, inside, mesh)

    def unwrap(frame: int) -> tuple[np.ndarray, np.ndarray]:
        head = mesh.face_model.vertices(geometry.template, geometry.expression[frame : frame + 1])[0]
        projected = mesh.project(geometry.pose(frame, head, windows.window_from_image[frame]))
        attributes = np.ascontiguousarray(projected[:, :2])
        grid = interpolate(index, barycentric, mesh.triangles, attributes).transpose(1, 2, 0)
        return grid, sample(windows[frame], grid)

    chosen = valid[np.unique(np.linspace(0, len(valid) - 1, NUM_MEDIAN_FRAMES).astype(int))]
    median = np.median(np.stack([unwrap(int(frame))[1] for frame in chosen]), 0).astype(np.uint8)

    def steps_of(frame: int) -> tuple[int, np.ndarray]:
        grid, texture = unwrap(frame)
        flow = cv2.DISOpticalFlow.create(FLOW_PRESET)  # one a thread: it keeps its buffers
        step = flow.calc(median, match_illumination(texture, median), cast(Any, None))  # no flow to start from
        step = smooth_inside(np.clip(step, -MAX_FLOW_PX, MAX_FLOW_PX), inside)
        at_vertices = sample(step, points[None] / COARSE)[0]
        moved = sample(grid, (points + at_vertices)[None])[0] - sample(grid, points[None])[0]
        return frame, moved * trust[:, None]

    yield from map_in_order(steps_of, (int(frame) for frame in valid), num_workers())


def vertex_trust(points: np.ndarray, inside: np.ndarray, mesh: FaceMesh) -> np.ndarray:
    """Say where flow may move a vertex: inside the window and the mesh, and away from the lips.

    Args:
        points: [V, 2] px of the window.
        inside: [H, W] bool, where the mesh is.

    Returns:
        [V] in [0, 1]
    """
    mean = mesh.face_model.mean[:, :2]
    away = smoothstep(cdist(mean, mean[list(LIPS)]).min(1), *LIP_DISTANCES)
    column, row = np.clip(np.floor(points).astype(int), 0, (WINDOW_WIDTH - 1, WINDOW_HEIGHT - 1)).T
    margin = np.minimum(points, (WINDOW_WIDTH, WINDOW_HEIGHT) - points).min(1)
    return (away * inside[row, column] * (margin > 2)).astype(np.float32)


def match_illumination(texture: np.ndarray, median: np.ndarray) -> np.ndarray:
    """Give a texture [H, W] uint8 the coarse light of another."""
    difference = shrink(median.astype(np.float32) - texture)
    light = cv2.GaussianBlur(difference, (0, 0), LIGHT_SCALE_PX / COARSE)
    light = cv2.resize(light, (WINDOW_WIDTH, WINDOW_HEIGHT), interpolation=cv2.INTER_LINEAR)
    return np.clip(texture + light, 0, 255).astype(np.uint8)


def smooth_inside(step: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Smooth a flow [H, W, 2] over the mesh only: [H / 4, W / 4, 2], still px of the window."""
    share = inside.astype(np.float32)
    total, weight = shrink(step * share[..., None]), shrink(share)
    sigma = FLOW_SMOOTHING_PX / COARSE
    return cv2.GaussianBlur(total, (0, 0), sigma) / (cv2.GaussianBlur(weight, (0, 0), sigma)[..., None] + 1e-3)


def shrink(image: np.ndarray) -> np.ndarray:
    """Average [H, W, ...] over squares of 4 px."""
    return cv2.resize(image, (WINDOW_WIDTH // COARSE, WINDOW_HEIGHT // COARSE), interpolation=cv2.INTER_AREA)


def sample(image: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Sample an image [h, w, ...] bilinearly at positions [H, W, 2] px (first centre at 0.5); border repeated."""
    x, y = (positions[..., axis].astype(np.float32) - np.float32(0.5) for axis in (0, 1))
    return cv2.remap(np.ascontiguousarray(image), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
