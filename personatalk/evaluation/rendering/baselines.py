"""Ways to fill the lower face that need no learning: other frames of the clip, as they are and warped."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from personatalk.evaluation.rendering.windows import (
    Method,
    MethodOutput,
    TargetGeometry,
    WindowClip,
    allowed_references,
    shared_references,
    vertices_to_render,
)
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH
from personatalk.geometry.face_model import LIPS
from personatalk.geometry.mesh import FaceMesh

# (clip, judged frames [N], mouths asked for [N, V, 3]) -> the frame to take for each [N]
Pick = Callable[[WindowClip, np.ndarray, np.ndarray], np.ndarray]


def baselines(mesh: FaceMesh) -> dict[str, Method]:
    """Five of them, by name."""

    def copy(pick: Pick) -> Method:
        return lambda clip, run: MethodOutput(images=clip.images[pick(clip, run, clip.head_vertices[run])])

    def smoothed(clip: WindowClip, run: np.ndarray) -> MethodOutput | None:
        warped = nearest_warped(clip, run)
        return MethodOutput(images=smooth_over_time(warped.images)) if warped is not None else None

    nearest_warped = warping_method(mesh, pick_nearest)
    return {
        "another frame": copy(pick_other),
        "another frame, warped": warping_method(mesh, pick_other),
        "nearest frame": copy(pick_nearest),
        "nearest frame, warped": nearest_warped,
        "nearest frame, warped, smoothed over time": smoothed,
    }


def warping_method(mesh: FaceMesh, pick: Pick, target_geometry: TargetGeometry | None = None) -> Method:
    """Warp picked frames to the mouths that are asked for.

    Args:
        mesh: the face mesh.
        pick: which frames.
        target_geometry: to render; without it, the true one.
    """

    def render(clip: WindowClip, run: np.ndarray) -> MethodOutput | None:
        vertices = vertices_to_render(clip, target_geometry)
        if vertices is None:
            return None
        picked = pick(clip, run, vertices[run])
        projected = [mesh.project(clip.geometry.pose(t, vertices[t], clip.window[t])) for t in run.tolist()]
        frames = [warp_frame(clip, int(s), target, mesh) for s, target in zip(picked, projected, strict=True)]
        return MethodOutput(images=np.stack(frames))

    return render


def smooth_over_time(images: np.ndarray) -> np.ndarray:
    """Weigh each image [N, ...] with its neighbours 1 : 2 : 1; the ends stand for their own neighbours."""
    padded = np.concatenate([images[:1], images, images[-1:]]).astype(np.float32)
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def pick_other(clip: WindowClip, run: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """One reference for the whole run, drawn at random but always alike."""
    chosen = np.random.default_rng(int(run[0])).choice(shared_references(clip.geometry, run))
    return np.full(len(run), chosen)


def pick_nearest(clip: WindowClip, run: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """For each judged frame, the reference whose lips are shaped most like those asked for."""
    lips = list(LIPS)
    picked = []
    for frame, vertices in zip(run.tolist(), asked, strict=True):
        allowed = allowed_references(clip.geometry, frame)
        distance = np.linalg.norm(clip.head_vertices[allowed][:, lips] - vertices[lips], axis=-1).mean(-1)
        picked.append(allowed[distance.argmin()])
    return np.array(picked)


def warp_frame(clip: WindowClip, source: int, target: np.ndarray, mesh: FaceMesh) -> np.ndarray:
    """Carry a frame through the mesh to other geometry; outside the mesh it stays as it is.

    Args:
        clip: gives the frame.
        source: its number.
        target: [N, 3] px of the window, where the vertices shall come to lie.
        mesh: the face mesh.

    Returns:
        [H, W, 3] uint8
    """
    places = np.ascontiguousarray(clip.projected[source : source + 1, :, :2])
    grid = mesh.correspondence(target, places, WINDOW_HEIGHT, WINDOW_WIDTH)[0]
    x, y = np.moveaxis(grid - 0.5, -1, 0).astype(np.float32)
    warped = cv2.remap(clip.images[source], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where((grid[..., :1] > -1e3), warped, clip.images[source])
