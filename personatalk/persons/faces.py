"""All faces of a video, each followed from where it comes into sight to where it is lost, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from personatalk.geometry.tracking import NUM_LANDMARKS, FaceFinder, FaceFollower
from personatalk.media.picture import Pixels
from personatalk.persons.embedding import cut_face_chip
from personatalk.persons.lost_face import cut_patch, find_in_gap

SCAN_S = 0.4  # s between looks for further faces; the detector takes as long as it does to follow a face
CHIP_S = 0.4  # s between the pictures that are kept of a face
LOST_S = 2.0  # s for which a lost face is waited for where it was, and may be registered where it is still seen
NEAR = 1.0  # widths of a face that it may have moved while it was lost
SAME_PLACE = 0.4  # widths; faces whose middles are nearer are one
MAX_FACES = 6  # followed at the same time, the largest first
MIN_WIDTH_PX = 24.0  # smaller ones are not followed at all
JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class FaceRun:
    """One face, followed without a cut.

    Attributes:
        first: number of the first frame.
        landmarks: [N, 478, 3] px, not a number where the face was lost.
        chips: frame number to a picture of the face, see `cut_face_chip`; compressed.
    """

    first: int
    landmarks: np.ndarray
    chips: dict[int, bytes]

    @property
    def frames(self) -> np.ndarray:
        """Numbers of the frames that show it, ascending."""
        return self.first + np.flatnonzero(np.isfinite(self.landmarks[:, 0, 0]))

    def seen(self) -> np.ndarray:
        """[M, 478, 3] px, the landmarks of these frames."""
        return self.landmarks[self.frames - self.first]

    def box(self, frame: int) -> np.ndarray:
        """[4] px: left, top, right, bottom, in a frame that shows it."""
        return box_of(self.landmarks[frame - self.first])

    def part(self, start: int, stop: int) -> FaceRun:
        """What lies in the frames start .. stop - 1."""
        kept = slice(max(0, start - self.first), max(0, stop - self.first))
        chips = {frame: chip for frame, chip in self.chips.items() if start <= frame < stop}
        return FaceRun(first=max(start, self.first), landmarks=self.landmarks[kept], chips=chips)


def decode_chip(chip: bytes) -> np.ndarray:
    """Decode a kept picture of a face: uint8 [150, 150, 3] RGB."""
    return np.asarray(cv2.imdecode(np.frombuffer(chip, np.uint8), cv2.IMREAD_COLOR))


def box_of(landmarks: np.ndarray) -> np.ndarray:
    """[4] px: left, top, right, bottom of landmarks [478, 3] px."""
    return np.concatenate([landmarks[:, :2].min(0), landmarks[:, :2].max(0)])


@dataclass(kw_only=True)
class _Followed:
    """A face under way."""

    follower: FaceFollower
    first: int
    box: np.ndarray
    landmarks: bytearray = field(default_factory=bytearray)
    count: int = 0
    missing: int = 0
    chips: dict[int, bytes] = field(default_factory=dict)
    gap: list[np.ndarray] = field(default_factory=list)  # patches, from the last frame that showed it

    def run(self) -> FaceRun:
        kept = np.frombuffer(self.landmarks, np.float32).reshape(-1, NUM_LANDMARKS, 3)
        return FaceRun(first=self.first, landmarks=kept[: len(kept) - self.missing], chips=self.chips)


class FacesTracker:
    """Follows all faces while frames stream by.

    Args:
        finder: finds faces.
        open_follower: makes what follows one face.
        fps: frames per second.
    """

    MISSING = np.full((NUM_LANDMARKS, 3), np.nan, np.float32)

    def __init__(self, finder: FaceFinder, open_follower: Callable[[], FaceFollower], fps: float) -> None:
        self._finder, self._open = finder, open_follower
        self._scan, self._chip, self._lost = (max(1, round(fps * seconds)) for seconds in (SCAN_S, CHIP_S, LOST_S))
        self._before: Pixels | None = None  # the frame before
        self._idle: list[FaceFollower] = []
        self._followed: list[_Followed] = []
        self._runs: list[FaceRun] = []

    @property
    def followers(self) -> list[FaceFollower]:
        """All that were opened."""
        return [*self._idle, *(face.follower for face in self._followed)]

    def add(self, index: int, image: Pixels, *, may_be_cut: bool = False) -> None:
        """Look at the next frame, uint8 [H, W, 3] RGB.

        Args:
            index: of the frame.
            image: RGB.
            may_be_cut: whether another shot may begin with it; then all faces are looked for anew.
        """
        if may_be_cut:
            for face in list(self._followed):
                self._end(face)
        found = {id(face): face.follower.follow(image) for face in self._followed if face.follower.is_placed}
        lost = [face for face in self._followed if found.get(id(face)) is None]
        boxes = None
        if lost or not self._followed or index % self._scan == 0:
            boxes = self._finder.detect(image)
            taken = [box_of(points) for points in found.values() if points is not None]
            boxes = [box for box in boxes if not any(_is_same(box, other) for other in taken)]
            for face in lost:
                found[id(face)] = self._find_again(face, boxes, image)
        for face in list(self._followed):
            self._keep(face, index, image, found.get(id(face)))
        for box in boxes or ():
            self._begin(index, box, image)
        self._end_doubles()
        self._before = image

    def finish(self) -> list[FaceRun]:
        """Return the runs of all faces, in the order in which they began."""
        for face in list(self._followed):
            self._end(face)
        return sorted(self._runs, key=lambda run: run.first)

    def _find_again(self, face: _Followed, boxes: list[np.ndarray], image: Pixels) -> np.ndarray | None:
        """Look for a lost face near where it was; the box that it is found in is taken out of `boxes`."""
        near = [i for i, box in enumerate(boxes) if _distance(box, face.box) < NEAR]
        if not near:
            return None
        face.follower.begin(boxes.pop(min(near, key=lambda i: _distance(boxes[i], face.box))))
        return face.follower.follow(image)

    def _begin(self, index: int, box: np.ndarray, image: Pixels) -> None:
        if len(self._followed) >= MAX_FACES or box[2] - box[0] < MIN_WIDTH_PX:
            return
        follower = self._idle.pop() if self._idle else self._open()
        follower.begin(box)
        landmarks = follower.follow(image)
        if landmarks is None:
            self._idle.append(follower)
            return
        face = _Followed(follower=follower, first=index, box=box)
        self._followed.append(face)
        self._keep(face, index, image, landmarks)

    def _keep(self, face: _Followed, index: int, image: Pixels, landmarks: np.ndarray | None) -> None:
        face.landmarks += (self.MISSING if landmarks is None else landmarks.astype(np.float32)).tobytes()
        if landmarks is None:
            if not face.missing and self._before is not None:
                face.gap = [cut_patch(self._before, face.box)]
            face.gap.append(cut_patch(image, face.box))
            face.missing += 1
            if face.missing >= self._lost:
                self._end(face)
            return
        if face.missing:
            self._fill_gap(face, image)
        face.missing, face.box = 0, box_of(landmarks)
        if face.count % self._chip == 0:
            chip = cv2.imencode(".jpg", cut_face_chip(image, landmarks), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1]
            face.chips[index] = chip.tobytes()
        face.count += 1

    def _fill_gap(self, face: _Followed, image: Pixels) -> None:
        """Find a face in the frames between the last that showed it and this one, in which it was found again."""
        known = np.frombuffer(face.landmarks, np.float32).reshape(-1, NUM_LANDMARKS, 3)
        patches = [*face.gap, cut_patch(image, face.box)]
        found = find_in_gap(patches, face.box, known[-face.missing - 2], known[-1])
        if found is not None:
            known[-face.missing - 1 : -1] = found

    def _end_doubles(self) -> None:
        """End the younger of two runs that have come to follow the same face."""
        for older, younger in ((a, b) for i, a in enumerate(self._followed) for b in self._followed[i + 1 :]):
            if not older.missing and not younger.missing and _is_same(older.box, younger.box):
                self._end(younger)
                return

    def _end(self, face: _Followed) -> None:
        self._followed.remove(face)
        self._idle.append(face.follower)
        self._runs.append(face.run())


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """How far the middles of two boxes [4] px are apart, in widths of the larger."""
    middles = (first[:2] + first[2:]) / 2 - (second[:2] + second[2:]) / 2
    return float(np.linalg.norm(middles) / max(first[2] - first[0], second[2] - second[0], 1e-6))


def _is_same(first: np.ndarray, second: np.ndarray) -> bool:
    return _distance(first, second) < SAME_PLACE
