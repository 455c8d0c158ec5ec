"""The package face-alignment as a tracker: its 68 points of a face become the mesh that the protocol asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

import numpy as np

from personatalk.errors import AdapterError
from personatalk.geometry.face_model import EYE_CORNERS, FaceModel
from personatalk.geometry.sparse_landmarks import RIGID, SparseFitter
from personatalk.geometry.tracking import choose_face
from personatalk.media.picture import Pixels

EYE_LIDS = ((160, 158, 153, 144), (385, 387, 373, 380))  # the person's right eye, left eye
IRIS_RADIUS_IOD = 0.065  # 11.7 mm across, where the outer eye corners are 90 mm apart
IRIS = np.array([(0, 0, 0), (1, 0, 0), (0, -1, 0), (-1, 0, 0), (0, 1, 0)])  # MediaPipe's five points of each
REDETECT_FRAMES = 10  # the detector takes longer than all else; in between, the box moves with the points
PIXEL_CENTRE = 0.5  # the package names whole pixels


class BoxDetector(Protocol):
    """What is used of face-alignment's detector."""

    def detect_from_image(self, image: np.ndarray, /) -> list[np.ndarray]:
        """Return (left, top, right, bottom, score) px for each face of an image uint8 [H, W, 3]."""
        ...


class PointNetwork(Protocol):
    """What is used of `face_alignment.FaceAlignment`."""

    @property
    def face_detector(self) -> BoxDetector:
        """Finds the faces."""
        ...

    def get_landmarks_from_image(self, image: np.ndarray, detected_faces: list[np.ndarray], /) -> list[np.ndarray]:
        """Return [68, 2] or [68, 3] px for each box of an image uint8 [H, W, 3]."""
        ...


class FaceAlignmentTracker:
    """face-alignment's points of one face, and the face model fitted to them.

    Args:
        face_model: gives the vertices between the points.
        point: (x, y) px; the face nearest to it is followed. Without it, the largest.
        network: finds faces and their points; without it, the package's own.

    Raises:
        AdapterError: the package or its weights are missing.

    Source: Bulat and Tzimiropoulos 2017, "How far are we from solving the 2D & 3D face alignment problem?"
    """

    def __init__(
        self, face_model: FaceModel, point: tuple[float, float] | None = None, *, network: PointNetwork | None = None
    ) -> None:
        self._network = network or load_network()
        self._fitter = SparseFitter(face_model)
        self._point = point
        self._box: np.ndarray | None = None  # left, top, right, bottom
        self._age = 0  # frames since the box was detected

    def __enter__(self) -> FaceAlignmentTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the networks."""
        del self._network

    def track(self, image: Pixels) -> np.ndarray | None:
        """Return [478, 3] px for an RGB image uint8 [H, W, 3], or None where there is no face."""
        landmarks = self.follow(image) if self.is_placed else None
        if landmarks is None:
            boxes = self.detect(image)
            if len(boxes):
                self.begin(boxes[choose_face(boxes, self._point)])
                landmarks = self.follow(image)
        return landmarks

    @property
    def is_placed(self) -> bool:
        """Whether there is a box, and a fresh one."""
        return self._box is not None and self._age < REDETECT_FRAMES

    def begin(self, box: np.ndarray) -> None:
        """Follow the face in a box [4] px: left, top, right, bottom."""
        self._box, self._age = box, 0

    def follow(self, image: Pixels) -> np.ndarray | None:
        """Return [478, 3] px for an RGB image uint8 [H, W, 3], or None where the box shows no face."""
        landmarks = self._landmarks_in_box(image)
        if landmarks is None:
            self._box = None
        return landmarks

    def detect(self, image: Pixels) -> np.ndarray:
        """Find all faces of an image: [N, 4] px, left, top, right, bottom; the largest first."""
        found = self._network.face_detector.detect_from_image(np.asarray(image))
        boxes = np.array(found, np.float64).reshape(-1, 5)[:, :4]
        return boxes[np.argsort(boxes[:, 0] - boxes[:, 2], kind="stable")]

    def _landmarks_in_box(self, image: Pixels) -> np.ndarray | None:
        if self._box is None:
            return None
        detected = np.append(self._box, 1.0)
        points = np.array(self._network.get_landmarks_from_image(np.asarray(image), [detected])[0], np.float64)
        points[:, :2] += PIXEL_CENTRE
        vertices = self._fitter.fit(points)
        if vertices is None:
            return None
        self._move_box(self._box, points[RIGID, :2])
        self._point = tuple(vertices[:, :2].mean(0))
        return add_irises(vertices)

    def _move_box(self, box: np.ndarray, points: np.ndarray) -> None:
        """Let a box keep its place and size relative to points [N, 2] px."""
        middle, size = points.mean(0), points.std()
        if self._age == 0:
            self._relative_box = (box.reshape(2, 2) - middle) / size
        self._box = (middle + self._relative_box * size).ravel()
        self._age += 1


def load_network() -> PointNetwork:
    """Load face-alignment with its detector S3FD, 3D-FAN and the depth network; downloads what is not there yet.

    Raises:
        AdapterError: the package or its weights are missing.
    """
    try:
        import face_alignment
        import torch
        from face_alignment.api import models_urls
        from face_alignment.detection.sfd.sfd_detector import models_urls as detector_urls
    except ImportError as error:
        raise AdapterError(
            f'the tracker "face-alignment" cannot be loaded ({error}): pip install "face-alignment>=1.5,<2"'
        ) from error
    urls = (detector_urls["s3fd"], models_urls["3DFAN-4"], models_urls["depth"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        network = face_alignment.FaceAlignment(face_alignment.LandmarksType.THREE_D, device=device, compile=False)
        return cast(PointNetwork, network)
    except (OSError, RuntimeError) as error:  # no network (URLError); a file that is damaged
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise AdapterError(
            f"the weights of face-alignment are neither in {folder} nor can they be downloaded ({error}); "
            f"put these files there: {', '.join(urls)}"
        ) from error


def add_irises(vertices: np.ndarray) -> np.ndarray:
    """Append MediaPipe's ten points of the irises, in the middle between the lids: [468, 3] px -> [478, 3] px."""
    iod = np.linalg.norm(vertices[EYE_CORNERS[0]] - vertices[EYE_CORNERS[1]])
    middles = np.array([vertices[list(lids)].mean(0) for lids in EYE_LIDS])
    irises = middles[:, None] + IRIS_RADIUS_IOD * iod * IRIS
    return np.concatenate([vertices, irises.reshape(-1, 3)]).astype(np.float32)
