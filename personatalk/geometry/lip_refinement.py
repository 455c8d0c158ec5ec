"""Photometric registration of the lips: frames with like mouths are laid on one another.

The tracker sets lips in each frame anew, a pixel here or there, and the median of a clip cannot mend them:
an open mouth has no counterpart in it. Another frame whose mouth has nearly the same shape has one. Optical flow
between such frames says by how much their lips disagree; corrections that agree best with all these measurements
at once, and are small, are found in closed form.

Ours: the paper says "hybrid", not how.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import cv2
import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, identity
from scipy.sparse.linalg import splu
from scipy.spatial.distance import cdist

from personatalk.concurrency import map_in_order, num_workers
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, invert_affine
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import LIPS, FaceModel
from personatalk.geometry.face_refinement import GreyWindows, sample
from personatalk.geometry.landmark_fitting import solve_expression, unpose
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_aperture, lip_descriptors
from personatalk.geometry.rasterizer import interpolate, rasterize
from personatalk.progress import Tick, no_tick

ROUNDS = 2  # measured: a third gains .3 dB more and costs 4 ms a frame
NUM_LIKE = 3  # frames with the likest mouths that a frame is compared with; measured: 2 scatter 7 % more, 4 2 % less
MIN_GAP_S = 0.08  # s; neighbours in time share the tracker's error
MAX_FRAMES = 400  # of a clip are registered, evenly over it, so that a long clip takes no longer
REACH = 0.12  # IOD from the lips to the vertices that are moved
BOX_MARGIN_PX = 10
MAX_STEP_PX = 4.0
SMOOTHING_PX = 3.0
LIGHT_SCALE_PX = 8.0  # differences coarser than this are light
LIKENESS = 0.02  # IOD between two mouths at which a comparison counts once
TRACKER_WEIGHT = 0.05  # of staying where the tracker set the lips, against one comparison


def register_lips(
    geometry: FaceGeometry, windows: GreyWindows, mesh: FaceMesh, *, tick: Tick = no_tick
) -> FaceGeometry:
    """Correct the expressions of a clip until like mouths look alike, in at most MAX_FRAMES frames.

    Corrections say nothing of how far the mouth is open: what of them follows the openness is taken out again,
    because flow, which falls short, would close the widest mouths.

    Args:
        geometry: of the clip.
        windows: of its frames; where fewer than there are frames, the rest stays.
        mesh: the face mesh.
        tick: called ROUNDS times for each registered frame.
    """
    frames = registered_frames(geometry.valid[: len(windows)])
    if len(frames) < 2:
        return geometry
    near = cdist(mesh.face_model.mean[:, :2], mesh.face_model.mean[list(LIPS), :2]).min(1) < REACH
    start = mesh.face_model.vertices(geometry.template, geometry.expression[frames])
    opening, projected = lip_aperture(start), geometry.project(start, frames)
    image_from_window = invert_affine(windows.window_from_image)[frames, :, :2]
    total = np.zeros((len(frames), int(near.sum()), 2))
    registered = geometry
    for _ in range(ROUNDS):
        total += lip_corrections(registered, windows, mesh, frames, near, tick=tick)
        points = projected.astype(np.float64)
        points[:, near, :2] += without_opening(total, opening) @ image_from_window.transpose(0, 2, 1)
        registered = with_vertices(geometry, points, frames, mesh.face_model)
    return registered


def registered_frames(valid: np.ndarray) -> np.ndarray:
    """Say which frames of a clip [T] bool are registered: the best references, because their lips agree."""
    frames = np.flatnonzero(valid)
    return frames[np.unique(np.linspace(0, max(0, len(frames) - 1), min(len(frames), MAX_FRAMES)).astype(int))]


def lip_corrections(
    geometry: FaceGeometry,
    windows: GreyWindows,
    mesh: FaceMesh,
    frames: np.ndarray,
    near: np.ndarray,
    *,
    tick: Tick = no_tick,
) -> np.ndarray:
    """Find by how much the lips of each frame miss those of frames with like mouths.

    Args:
        frames: [T] those to correct.
        near: [V] bool, vertices to correct.
        tick: called for each frame.

    Returns:
        [T, N, 2] px of the window, N vertices.
    """
    head = mesh.face_model.vertices(geometry.template, geometry.expression[frames])
    projected = np.stack(
        [
            mesh.project(geometry.pose(int(t), v, windows.window_from_image[t]))
            for v, t in zip(head, frames, strict=True)
        ]
    )
    descriptors = lip_descriptors(head, geometry.template, geometry.rotation[frames])
    likest, distance = like_frames(descriptors, frames, geometry.frames_in(MIN_GAP_S))
    left, top, right, bottom = lip_box(projected)
    images = [windows[int(t)] for t in frames]

    def compare(position: int) -> np.ndarray:
        """Measure how far a frame's lips miss those of its K likest frames: [K, N, 2] px."""
        corner = np.array((left, top, 0), np.float32)
        index, barycentric = rasterize(projected[position] - corner, mesh.triangles, bottom - top, right - left)
        others = likest[position]
        places = np.ascontiguousarray(projected[others, :, :2].transpose(1, 0, 2).reshape(projected.shape[1], -1))
        grids = interpolate(index, barycentric, mesh.triangles, places)
        image = np.ascontiguousarray(images[position][top:bottom, left:right])
        inside = (index >= 0).astype(np.float32)
        points = projected[position, : len(near)][near, :2] - corner[:2]
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow.setVariationalRefinementIterations(0)  # measured: takes a quarter of the time and brings nothing
        steps = [
            flow_between(flow, sample(images[other], grids[2 * k : 2 * k + 2].transpose(1, 2, 0)), image, inside)
            for k, other in enumerate(others)
        ]
        return np.stack([sample(step, points[None])[0] for step in steps])

    compared = []
    for steps in map_in_order(compare, range(len(frames)), num_workers()):
        compared.append(steps)
        tick()
    steps = np.stack(compared)
    return reconcile(steps, likest, LIKENESS / (distance + LIKENESS / 2))


def like_frames(descriptors: np.ndarray, frames: np.ndarray, min_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """For each frame, find those with the most similar mouths, a little apart in time.

    Args:
        descriptors: [T, D].
        frames: [T] frame numbers.
        min_gap: frames between them, at least.

    Returns:
        positions [T, K] and distances [T, K] IOD; few frames offer fewer.
    """
    distance = cdist(descriptors, descriptors)
    distance[np.abs(frames[:, None] - frames) < min_gap] = np.inf
    order = np.argsort(distance, 1)[:, : min(NUM_LIKE, max(1, len(frames) - 2 * min_gap + 1))]
    return order, np.take_along_axis(distance, order, 1)


def lip_box(projected: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom px of the window's part that holds all lips of vertices [T, N, 3]."""
    lips = projected[:, list(LIPS), :2]
    low = np.clip(np.floor(lips.min((0, 1)) - BOX_MARGIN_PX), 0, (WINDOW_WIDTH - 16, WINDOW_HEIGHT - 16))
    high = np.clip(np.ceil(lips.max((0, 1)) + BOX_MARGIN_PX), low + 16, (WINDOW_WIDTH, WINDOW_HEIGHT))
    return (*low.astype(int).tolist(), *high.astype(int).tolist())


def flow_between(flow: cv2.DISOpticalFlow, guess: np.ndarray, image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Find where in an image [H, W] uint8 the places of a guess at it lie: smooth steps [H, W, 2] px.

    Args:
        flow: the algorithm; one a thread, because it keeps its buffers.
        guess: [H, W] uint8.
        image: [H, W] uint8.
        inside: [H, W] 1 on the face, else 0; steps are smoothed over the face only.
    """
    light = cv2.GaussianBlur(image.astype(np.float32) - guess, (0, 0), LIGHT_SCALE_PX)
    step = flow.calc(np.clip(guess + light, 0, 255).astype(np.uint8), image, cast(Any, None))  # no flow to start from
    step = np.clip(step, -MAX_STEP_PX, MAX_STEP_PX) * inside[..., None]
    share = cv2.GaussianBlur(inside, (0, 0), SMOOTHING_PX)[..., None]
    return cv2.GaussianBlur(step, (0, 0), SMOOTHING_PX) / (share + 1e-3)


def reconcile(steps: np.ndarray, others: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Find small corrections whose differences agree best with measured ones, in closed form.

    Minimises the sum of weight * |correction - correction of the other - step|^2, and of the corrections' squares.

    Args:
        steps: [T, K, N, 2] by how much a frame is to move against each of K others.
        others: [T, K] positions.
        weight: [T, K].

    Returns:
        [T, N, 2]
    """
    count, num_others = others.shape
    edges, rows = np.arange(others.size), np.repeat(np.arange(count), num_others)
    signs = np.concatenate([np.ones(others.size), -np.ones(others.size)])
    ends = (np.concatenate([edges, edges]), np.concatenate([rows, others.ravel()]))
    difference = csr_matrix((signs, ends), shape=(others.size, count))
    weighted = difference.multiply(weight.reshape(-1, 1)).T
    normal = csc_matrix(weighted @ difference + TRACKER_WEIGHT * identity(count))
    solved = splu(normal).solve(weighted @ steps.reshape(others.size, -1).astype(np.float64))
    return solved.reshape(count, *steps.shape[2:])


def without_opening(corrections: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Take out of corrections [T, N, 2] their mean and what follows the openness [T] linearly."""
    regressors = np.stack([np.ones(len(opening)), opening - opening.mean()], 1)
    flat = corrections.reshape(len(opening), -1)
    return (flat - regressors @ np.linalg.lstsq(regressors, flat, rcond=None)[0]).reshape(corrections.shape)


def with_vertices(
    geometry: FaceGeometry, points: np.ndarray, frames: np.ndarray, face_model: FaceModel
) -> FaceGeometry:
    """Explain vertices [T, V, 3] px of some frames by new expressions; pose and template stay."""
    translation = np.pad(geometry.translation[frames], ((0, 0), (0, 1)))
    head = unpose(points, geometry.rotation[frames], geometry.scale[frames], translation)
    expression = geometry.expression.copy()
    expression[frames] = solve_expression(head - geometry.template, face_model)
    return replace(geometry, expression=expression)
