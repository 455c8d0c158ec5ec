"""Frames to a face track: one face followed through a video, 478 landmarks in each frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import cv2
import numpy as np

from personatalk.geometry.mediapipe_graphs import open_graph, restart_graph
from personatalk.media.picture import Pixels, part_of

NUM_LANDMARKS = 478  # MediaPipe Face Mesh with refined lips and irises
DETECTION_CONFIDENCE = 0.5
TURN_MARGIN = 0.05  # of the detector's scores, by which a face is likelier to stand on its head than upright
WINDOW_SCALE = 2.0  # side of the search window over the side of the detected face box
MIN_WINDOW_PX = 64
ROOM = 0.5  # of the picture's size, that is added on every side to find faces which fill it


@dataclass(frozen=True, kw_only=True)
class FaceTrack:
    """One face over all frames of a video.

    Attributes:
        landmarks: [T, 478, 3] px in the full frame; z in px too, smaller is nearer. Undefined where not detected.
        detected: [T] bool.
        times: [T] seconds, each frame's own timestamp.
        width: px.
        height: px.
        shot: [T] number of each frame's shot, -1 within a dissolve or fade; left out, all is one shot.
        light: [T] number of what is lit alike; left out, all of it.
    """

    landmarks: np.ndarray
    detected: np.ndarray
    times: np.ndarray
    width: int
    height: int
    shot: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    light: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def __post_init__(self) -> None:
        for name in ("shot", "light"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self.detected), int))

    def __len__(self) -> int:
        return len(self.detected)


class LandmarkTracker(Protocol):
    """Follows one face: is given the frames of a video in order."""

    def track(self, image: Pixels) -> np.ndarray | None:
        """Return [478, 3] px for an RGB image uint8 [H, W, 3], or None where there is no face."""


class FaceFinder(Protocol):
    """Finds the faces of an image."""

    def detect(self, image: Pixels) -> np.ndarray:
        """Return [N, 4] px, left, top, right, bottom, of an RGB image uint8 [H, W, 3]; the largest first."""
        ...


class FaceFollower(Protocol):
    """Follows one face from where it was found."""

    @property
    def is_placed(self) -> bool:
        """Whether it knows where to look in the next frame; if not, `begin` must tell."""
        ...

    def begin(self, box: np.ndarray) -> None:
        """Look for the face around a box [4] px: left, top, right, bottom."""

    def follow(self, image: Pixels) -> np.ndarray | None:
        """Return [478, 3] px for the next RGB image uint8 [H, W, 3], or None where the face is lost."""


class MediaPipeDetector:
    """MediaPipe's full-range detector, which finds faces that fill only a small part of the frame."""

    def __init__(self) -> None:
        from mediapipe.python.solutions.face_detection import FaceDetection

        self._detector = open_graph(
            lambda: FaceDetection(model_selection=1, min_detection_confidence=DETECTION_CONFIDENCE)
        )

    def close(self) -> None:
        """Free the network."""
        self._detector.close()

    def detect(self, image: Pixels) -> np.ndarray:
        """Find all faces of an image.

        Returns:
            [N, 4] px: left, top, right, bottom; the largest first.
        """
        whole = np.asarray(image)
        boxes = self._boxes_in(whole)
        if not len(boxes):  # a face that fills the picture is only found with room around it
            bottom, right = (int(ROOM * size) for size in image.shape[:2])
            boxes = self._boxes_in(cv2.copyMakeBorder(whole, bottom, bottom, right, right, cv2.BORDER_CONSTANT))
            boxes -= np.array((right, bottom, right, bottom), np.float32)
        if not len(boxes):  # nor are all that stand on their head
            size = np.array(image.shape[1::-1] * 2, np.float32)
            boxes = size - self._boxes_in(turned(whole))[:, [2, 3, 0, 1]]
        return boxes

    def _boxes_in(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        boxes = []
        found = cast(Any, self._detector.process(image))  # MediaPipe declares no fields
        for detection in found.detections or []:
            box = detection.location_data.relative_bounding_box
            boxes.append((box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height))
        boxes = np.array(boxes, np.float32).reshape(-1, 4) * (width, height, width, height)
        return boxes[np.argsort(-(boxes[:, 2] - boxes[:, 0]))]


class MediaPipeFollower:
    """MediaPipe Face Mesh inside a square window around one face, so that cost and accuracy do not depend on the size
    of the frame. The window stands still while the face stays inside.

    The mesh follows a face through any turn, but takes one that stands on its head for an upright one, with lips where
    the eyes are. So it is decided where a face is found how it stands, and such a face is seen turned by half a circle.
    """

    def __init__(self) -> None:
        from mediapipe.python.solutions.face_detection import FaceDetection
        from mediapipe.python.solutions.face_mesh import FaceMesh

        self._mesh = open_graph(lambda: FaceMesh(refine_landmarks=True, max_num_faces=1))
        self._judge = open_graph(lambda: FaceDetection(model_selection=0, min_detection_confidence=0.1))
        self._window: tuple[int, int, int] | None = None  # left, top, side
        self._is_turned: bool | None = None  # None: to be decided

    def close(self) -> None:
        """Free the networks."""
        self._mesh.close()
        self._judge.close()

    @property
    def is_placed(self) -> bool:
        """Whether there is a window to look into."""
        return self._window is not None

    def begin(self, box: np.ndarray) -> None:
        """Lay the window around a box [4] px: left, top, right, bottom."""
        left, top, right, bottom = box
        side = max(MIN_WINDOW_PX, int(WINDOW_SCALE * max(right - left, bottom - top)))
        left, top = (np.array((left + right, top + bottom)) / 2 - side / 2).astype(int)
        self._window, self._is_turned = (int(left), int(top), side), None
        restart_graph(self._mesh)

    def follow(self, image: Pixels) -> np.ndarray | None:
        """Return [478, 3] px for an RGB image uint8 [H, W, 3], or None where the window shows no face."""
        if self._window is None:
            return None
        window, self._window = self._window, None
        left, top, side = window
        square = _cut(image, left, top, side)
        if self._is_turned is None:
            self._is_turned = self._score(turned(square)) > self._score(square) + TURN_MARGIN
        # MediaPipe declares no fields
        found = cast(Any, self._mesh.process(turned(square) if self._is_turned else square))
        if not found.multi_face_landmarks:
            return None
        points = np.array([(p.x, p.y, p.z) for p in found.multi_face_landmarks[0].landmark], np.float32) * side
        if self._is_turned:
            points[:, :2] = side - points[:, :2]
        landmarks = points + np.array((left, top, 0), np.float32)
        if _holds(window, landmarks):
            self._window = window
        return landmarks

    def _score(self, square: np.ndarray) -> float:
        """How surely the detector sees an upright face in a square."""
        found = cast(Any, self._judge.process(square)).detections or []
        return max((detection.score[0] for detection in found), default=0.0)


class MediaPipeTracker:
    """Follows one face of a video by MediaPipe's detector and mesh.

    Args:
        point: (x, y) px; the face nearest to it is followed. Without it, the largest.

    Ours: the paper does not name its tracker.
    """

    def __init__(self, point: tuple[float, float] | None = None) -> None:
        self._detector, self._follower = MediaPipeDetector(), MediaPipeFollower()
        self._point = point

    def __enter__(self) -> MediaPipeTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the networks."""
        self._detector.close()
        self._follower.close()

    def track(self, image: Pixels) -> np.ndarray | None:
        """Return [478, 3] px for an RGB image uint8 [H, W, 3], or None where there is no face."""
        landmarks = self._follower.follow(image)
        if landmarks is None:
            boxes = self.detect(image)
            if not len(boxes):
                return None
            self._follower.begin(boxes[choose_face(boxes, self._point)])
            landmarks = self._follower.follow(image)
        if landmarks is not None:
            self._point = tuple(landmarks[:, :2].mean(0))
        return landmarks

    def detect(self, image: Pixels) -> np.ndarray:
        """Find all faces of an image: [N, 4] px, left, top, right, bottom; the largest first."""
        return self._detector.detect(image)


def turned(image: np.ndarray) -> np.ndarray:
    """Turn an image [H, W, 3] by half a circle."""
    return np.ascontiguousarray(image[::-1, ::-1])


def _holds(window: tuple[int, int, int], landmarks: np.ndarray) -> bool:
    """Whether a window still fits the face, with room to move."""
    left, top, side = window
    low, high = landmarks[:, :2].min(0) - (left, top), landmarks[:, :2].max(0) - (left, top)
    extent = (high - low).max() / side
    return bool(low.min() > 0.05 * side and high.max() < 0.95 * side and 0.35 < extent < 0.85)


def choose_face(boxes: np.ndarray, point: tuple[float, float] | None) -> int:
    """Choose among the faces of a frame.

    Args:
        boxes: [N, 4] px: left, top, right, bottom; N is at least 1.
        point: (x, y) px.

    Returns:
        which one's centre is nearest to the point; without a point, which is the widest.
    """
    if point is None:
        return int((boxes[:, 2] - boxes[:, 0]).argmax())
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return int(np.linalg.norm(centres - point, axis=1).argmin())


def track_face(
    frames: Iterable[tuple[float, Pixels]], tracker: LandmarkTracker, *, width: int, height: int
) -> FaceTrack:
    """Follow one face through a stream of frames, holding none of them.

    Args:
        frames: (time in s, uint8 [H, W, 3] RGB) in order.
    """
    times, grown = [], bytearray()  # which is never copied as a whole when it grows
    missing = np.full((NUM_LANDMARKS, 3), np.nan, np.float32)
    for time, image in frames:
        found = tracker.track(image)
        times.append(time)
        grown += (missing if found is None else found.astype(np.float32)).tobytes()
    landmarks = np.frombuffer(grown, np.float32).reshape(-1, NUM_LANDMARKS, 3)
    return FaceTrack(
        landmarks=landmarks,
        detected=np.isfinite(landmarks[:, 0, 0]),
        times=np.array(times, np.float64),
        width=width,
        height=height,
    )


def _cut(image: Pixels, left: int, top: int, side: int) -> np.ndarray:
    """Cut a square out of an image, black where it lies outside."""
    height, width = image.shape[:2]
    if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
        return part_of(image, (left, top, left + side, top + side))
    square = np.zeros((side, side, 3), np.uint8)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x0 < x1 and y0 < y1:
        square[y0 - top : y1 - top, x0 - left : x1 - left] = part_of(image, (x0, y0, x1, y1))
    return square
