"""What is lost with 68 points instead of 478: `python -m benchmarks.face_alignment [CLIP ...]`.

MediaPipe's landmarks of a clip, and those of faces that are known, are reduced to the 68 points that face-alignment
gives, and its tracker makes the mesh of them again. The points are exact, or have the errors of a good detector, or
are what the package itself makes of networks without error: its heat maps are coarse and its points whole pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.samples import CHECKPOINTS, EXAMPLE_CLIP
from personatalk import metrics
from personatalk.evaluation.geometry.known_faces import known_face, round_trip_figures
from personatalk.geometry.face_alignment_tracker import FaceAlignmentTracker, PointNetwork
from personatalk.geometry.face_model import LIPS, NUM_VERTICES, FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mouth import lip_aperture
from personatalk.geometry.sparse_landmarks import ibug_points
from personatalk.geometry.tracking import FaceTrack, track_face
from personatalk.persons.search import follow_face

NUM_KNOWN = 5
NOISE_IOD = 0.015
NUM_CELLS = 64  # along the side of a heat map
REFERENCE_SCALE, CROP_SHARE, CROP_RISE = 195, 200, 0.12  # how the package cuts a crop around a box


class KnownPoints:
    """Stands in for the networks: an image of `numbered_images` says which frame it is, whose points are known.

    Args:
        vertices: [T, V, 3] px.
        dims: 2, or 3 for points with depth.
        noise_px: standard deviation of the points.
    """

    reference_scale = REFERENCE_SCALE

    def __init__(self, vertices: np.ndarray, *, dims: int = 3, noise_px: float = 0.0) -> None:
        self.face_detector, self._vertices = self, vertices
        exact = ibug_points(vertices)[..., :dims] - (0.5, 0.5, 0)[:dims]  # the package counts from a pixel's centre
        self._points = exact + np.random.default_rng(0).normal(scale=noise_px, size=exact.shape)

    def detect_from_image(self, image: np.ndarray) -> list[np.ndarray]:
        """Return the face's box."""
        face = self._vertices[frame_of(image), :, :2]
        return [np.array((*face.min(0), *face.max(0), 1.0))]

    def get_landmarks_from_image(self, image: np.ndarray, detected_faces: list[np.ndarray]) -> list[np.ndarray]:
        """Return the face's points."""
        return [self._points[frame_of(image)]]


def perfect_network(vertices: np.ndarray) -> PointNetwork:
    """face-alignment's own object with a network that knows the face: the package cuts, decodes and places the points.

    Args:
        vertices: [T, V, 3] px.
    """
    from face_alignment import FaceAlignment, LandmarksType  # pyright: ignore  # the package, not this file

    package: Any = object.__new__(FaceAlignment)
    package.device, package.dtype, package.verbose = "cpu", torch.float32, False
    package.flip_input, package.max_batch_size, package.landmarks_type = False, 1, LandmarksType.TWO_D
    package.face_detector = KnownPoints(vertices)
    rows, columns = np.mgrid[:NUM_CELLS, :NUM_CELLS]
    decode = package.get_landmarks_from_image

    def landmarks(image: np.ndarray, detected_faces: list[np.ndarray]) -> list[np.ndarray]:
        left, top, right, bottom = detected_faces[0][:4]
        side = CROP_SHARE * (right - left + bottom - top) / REFERENCE_SCALE
        corner = np.array(((left + right - side) / 2, (top + bottom - side) / 2 - CROP_RISE * (bottom - top)))
        points = (ibug_points(vertices[frame_of(image)])[:, :2] - corner) / side * NUM_CELLS - 0.5
        x, y = points.T[..., None, None]
        maps = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2)[None].astype(np.float32)
        package.face_alignment_net = lambda crop: torch.from_numpy(maps)
        return decode(image, detected_faces=detected_faces)

    package.get_landmarks_from_image = landmarks
    return package


def numbered_images(count: int, width: int, height: int) -> Iterator[np.ndarray]:
    """Black images [H, W, 3] whose first pixel says which frame they are."""
    for frame in range(count):
        image = np.zeros((height, width, 3), np.uint8)
        image[0, 0, :2] = frame % 256, frame // 256
        yield image


def frame_of(image: np.ndarray) -> int:
    """Which frame an image of `numbered_images` is."""
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


def track_again(track: FaceTrack, network: PointNetwork, face_model: FaceModel) -> FaceTrack:
    """Track a face, of which a network knows the points."""
    images = numbered_images(len(track), track.width, track.height)
    with FaceAlignmentTracker(face_model, network=network) as tracker:
        return track_face(zip(track.times, images, strict=True), tracker, width=track.width, height=track.height)


def compare(track: FaceTrack, again: FaceTrack, face_model: FaceModel) -> dict[str, float]:
    """Compare the fit to a track with the fit to 478 landmarks, and both with these landmarks.

    Returns:
        errors in % of the inter-ocular distance; lip aperture against that of the fit to all landmarks.
    """
    dense, sparse = fit_track(track, face_model), fit_track(again, face_model)
    head = [face_model.vertices(fit.template, fit.expression) for fit in (dense, sparse)]
    miss = np.linalg.norm((sparse.project(head[1]) - track.landmarks[:, :NUM_VERTICES])[..., :2], axis=-1)
    miss = 100 * miss / dense.scale[:, None]
    opening = [lip_aperture(vertices) for vertices in head]
    return {
        "lips_%": float(miss[:, list(LIPS)].mean()),
        "face_%": float(miss.mean()),
        "aperture_r": metrics.correlation(opening[1], opening[0]),
        "aperture_deviation_ratio": metrics.deviation_ratio(opening[1], opening[0]),
    }


def networks(vertices: np.ndarray, noise_px: float) -> dict[str, Callable[[], PointNetwork]]:
    """The stand-ins, by name."""
    return {
        "68 points, 3D": lambda: KnownPoints(vertices),
        "68 points, 2D": lambda: KnownPoints(vertices, dims=2),
        f"68 points, 3D, noise {100 * NOISE_IOD:g} %": lambda: KnownPoints(vertices, noise_px=noise_px),
        "through face-alignment, networks without error": lambda: perfect_network(vertices),
    }


def report(name: str, figures: dict[str, float]) -> None:
    """Print a line."""
    print(f"  {name:48}" + "  ".join(f"{key} {value:.3f}" for key, value in figures.items()))


def main() -> None:
    """Compare on clips, and on known faces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="*", default=[EXAMPLE_CLIP])
    face_model = FaceModel.load(CHECKPOINTS / "face_model.safetensors")
    for clip in parser.parse_args().clips:
        print(clip.name)
        track, _ = follow_face(clip, face_model)
        scale = float(fit_track(track, face_model).scale.mean())
        report("478 landmarks of MediaPipe", compare(track, track, face_model))
        for name, network in networks(track.landmarks[:, :NUM_VERTICES], NOISE_IOD * scale).items():
            report(name, compare(track, track_again(track, network(), face_model), face_model))
    print(f"{NUM_KNOWN} known faces")
    faces = [known_face(face_model, noise_iod=0, seed=seed) for seed in range(NUM_KNOWN)]
    rows = {"468 vertices": [round_trip_figures(face, face_model) for face in faces]}
    for face in faces:
        vertices = face.track.landmarks[:, :NUM_VERTICES]
        for name, network in networks(vertices, NOISE_IOD * 80).items():
            again = replace(face, track=track_again(face.track, network(), face_model))
            rows.setdefault(name, []).append(round_trip_figures(again, face_model))
    for name, figures in rows.items():
        report(name, {key: float(np.mean([row[key] for row in figures])) for key in figures[0]})


if __name__ == "__main__":
    main()
