"""The band outside of the jaw, where neck, collar and background begin: a dub should leave it as the source has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from personatalk import metrics
from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_SCALE, WINDOW_WIDTH, warp_image, window_from_image
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.rasterizer import rasterize
from personatalk.inspection.seen_face import SeenFace
from personatalk.media import read_frames
from personatalk.metrics.perceptual import Lpips

BAND_IOD = 0.12  # how far outside of the jaw it reaches
LPIPS_STRIDE = 5  # frames between those whose LPIPS is measured
GREY = 127  # in place of what is not the band
NICK_LEVELS, NICK_IOD2 = 25.0, 0.002  # of what comes and goes within a frame: levels of 255, and its area
NICK_PX = round(NICK_IOD2 * WINDOW_SCALE**2)
JAW_IOD = 0.08  # on both sides of the mesh's edge: there the source's jaw, a beard or its shadow ends
BESIDE_IOD = 0.04  # outside of the dub's face; nearer, the two jaws are one
EDGE_IOD = 0.04  # coarser than this is light, not an edge
MIN_JAW_PX = 300  # of all windows, in which the source's jaw lies outside of the dub's face


def jaw_band_figures(
    video: Path, dubbed: Path, faces: tuple[SeenFace, SeenFace], mesh: FaceMesh, lpips: Lpips
) -> dict[str, float]:
    """Compare the band outside of the jaw in a dub with the source's.

    Args:
        video: the source.
        dubbed: the dub, frame by frame beside it.
        faces: of the source and of the dub.
        mesh: the face mesh.
        lpips: frozen network.

    Returns:
        band_flicker: mean change from frame to frame, over the source's.
        band_lpips: LPIPS against the source, over that between the source's frames and the next ones.
        band_nicks: share of frames in which something in the band differs from the frames before and after, which it
            does not in the source.
        old_jaw: how strongly the source's own jaw is still seen where it lies outside of the dub's face, 1 as in the
            source, 0 not at all; missing where it hardly ever lies there.
    """
    source, seen = (face.geometry for face in faces)
    frames, affines = seen_together(source, seen), window_from_image(source)
    if len(frames) < 3:
        return {}
    true, output = (cut_windows(path, affines, frames) for path in (video, dubbed))
    masks = [mask_of(mesh, source, affines[t], t) for t in frames.tolist()]
    shapes = [[face_of(mesh, face, affines[t], t) for face in (source, seen)] for t in frames.tolist()]
    bands = np.stack([jaw_band(mask, *both) for mask, both in zip(masks, shapes, strict=True)])
    if not bands.any():
        return {}
    follows = np.diff(frames) == 1
    changes = [np.abs(np.diff(images.astype(np.float32), axis=0)).mean(-1) for images in (output, true)]
    weight = (bands[1:] & bands[:-1]) & follows[:, None, None]
    moved = [float((change * weight).sum() / max(weight.sum(), 1)) for change in changes]
    rows = np.flatnonzero(follows)[::LPIPS_STRIDE]
    distances = [
        lpips_of(lpips, first, second, bands[rows])
        for first, second in ((output[rows], true[rows]), (true[rows + 1], true[rows]))
    ]
    return {
        "band_flicker": moved[0] / max(moved[1], 1e-9),
        "band_lpips": distances[0] / max(distances[1], 1e-9),
        "band_nicks": float(nicks(output, true, bands)[follows[1:] & follows[:-1]].mean()),
        **old_jaw(output, true, np.stack([old_jaw_strip(m, *both) for m, both in zip(masks, shapes, strict=True)])),
    }


def seen_together(first: FaceGeometry, second: FaceGeometry) -> np.ndarray:
    """[N] frames in which both show the face."""
    count = min(len(first), len(second))
    return np.flatnonzero(first.valid[:count] & second.valid[:count])


def cut_windows(video: Path, affines: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """[N, H, W, 3] uint8, the windows of some frames [N] of a video, by window_from_image [T, 2, 3]."""

    def windows() -> Iterator[np.ndarray]:
        for frame in read_frames(video, only=frames):
            yield warp_image(frame.image, affines[frame.index], WINDOW_WIDTH, WINDOW_HEIGHT)

    return np.stack(list(windows()))


def face_of(mesh: FaceMesh, geometry: FaceGeometry, affine: np.ndarray, frame: int) -> np.ndarray:
    """Draw the face of a frame, without its rings, in the window of an affine [2, 3]: [H, W] bool."""
    vertices = mesh.face_model.vertices(geometry.template, geometry.expression[frame : frame + 1])[0]
    projected = mesh.project(geometry.pose(frame, vertices, affine))
    triangles = mesh.triangles[: len(mesh.face_model.triangles)]
    return rasterize(projected, triangles, WINDOW_HEIGHT, WINDOW_WIDTH)[0] >= 0


def mask_of(mesh: FaceMesh, source: FaceGeometry, affine: np.ndarray, frame: int) -> np.ndarray:
    """Draw what may be rendered anew of a frame, in the window of an affine [2, 3]: [H, W] bool."""
    template = mesh.project(source.pose(frame, source.template, affine))
    return mesh.mask(template, source.template, WINDOW_HEIGHT, WINDOW_WIDTH) > 0


def jaw_band(mask: np.ndarray, own: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Draw the band of a frame: outside of both faces, at most BAND_IOD from either, below the mouth's corners.

    Args:
        mask: [H, W] bool, what may be rendered anew.
        own: [H, W] bool, the source's face.
        seen: [H, W] bool, the dub's.

    Returns:
        [H, W] bool
    """
    distance = distance_to(own | seen)
    return mask & (distance > 0) & (distance <= BAND_IOD * WINDOW_SCALE)


def old_jaw_strip(mask: np.ndarray, own: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Draw where the source's jaw ends, outside of the dub's face; see `jaw_band`: [H, W] bool."""
    beside = distance_to(seen) > BESIDE_IOD * WINDOW_SCALE
    if not (own & beside).any():
        return np.zeros_like(mask)
    near = [distance_to(shape) <= JAW_IOD * WINDOW_SCALE for shape in (own, ~own, own & beside)]
    return mask & beside & np.all(near, 0)


def distance_to(shape: np.ndarray) -> np.ndarray:
    """[H, W] px from each pixel to a shape [H, W] bool; 0 in it."""
    return cv2.distanceTransform((~shape).astype(np.uint8), cv2.DIST_L2, 5)


def old_jaw(output: np.ndarray, true: np.ndarray, strips: np.ndarray) -> dict[str, float]:
    """Regress the edges of windows [N, H, W, 3] on the source's, in strips [N, H, W] bool of `old_jaw_strip`."""
    if strips.sum() < MIN_JAW_PX:
        return {}
    frames = np.flatnonzero(strips.any((1, 2)))
    ours, own = (np.stack([edges_of(images[t]) for t in frames])[strips[frames]] for images in (output, true))
    return {"old_jaw": float(ours @ own / max(own @ own, 1e-9))}


def edges_of(image: np.ndarray) -> np.ndarray:
    """[H, W] levels, what is finer than EDGE_IOD in the luma of a window [H, W, 3] uint8."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return luma - cv2.GaussianBlur(luma, (0, 0), EDGE_IOD * WINDOW_SCALE)


def lpips_of(lpips: Lpips, first: np.ndarray, second: np.ndarray, bands: np.ndarray) -> float:
    """Mean LPIPS of windows [N, H, W, 3] that show nothing but bands [N, H, W]."""
    whole = (0, 0, WINDOW_WIDTH, WINDOW_HEIGHT)
    first, second = (np.where(bands[..., None], images, GREY).astype(np.uint8) for images in (first, second))
    with torch.inference_mode():
        return metrics.lpips_distance(lpips, first, second, whole)


def nicks(output: np.ndarray, true: np.ndarray, bands: np.ndarray) -> np.ndarray:
    """[N - 2] bool: whether something is in the bands for one frame alone that the source has not.

    Args:
        output: [N, H, W, 3] uint8.
        true: as output.
        bands: [N, H, W] bool.
    """
    added = output.astype(np.float32) - true
    before, after = (np.abs(added[1:-1] - beside).mean(-1) for beside in (added[:-2], added[2:]))
    alone = np.minimum(before, after)
    places = np.stack([cv2.blur(image, (3, 3)) > NICK_LEVELS for image in alone])
    inside = places & bands[:-2] & bands[1:-1] & bands[2:]
    return np.array([largest_region(place) >= NICK_PX for place in inside], bool)


def largest_region(mask: np.ndarray) -> int:
    """Px of the largest connected part of a mask [H, W] bool; 0 where it is empty."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return int(stats[1:, cv2.CC_STAT_AREA].max()) if len(stats) > 1 else 0
