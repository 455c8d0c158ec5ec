"""Hands in front of the face, found by their shape, since they have the face's own colour.

Ours: the paper's examples have no hands; the landmarks are MediaPipe's.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from personatalk.geometry.camera import apply_affine, warp_image
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FACE_OVAL
from personatalk.geometry.mediapipe_graphs import open_graph
from personatalk.media.picture import Pixels

if TYPE_CHECKING:
    from mediapipe.python.solutions.hands import Hands

WRIST, PALM = 0, (0, 1, 5, 9, 13, 17)
FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
INDEX, MIDDLE, LITTLE = 5, 9, 17  # where these fingers begin
MIN_SCORE = 0.97  # measured: hands reach .98, faces that are taken for hands .94
STRIDE_S = 0.48  # s between looks while no hand is near
VIEW_PX, VIEW_IOD = 256, 4.5  # the square about the mouth that is looked at
MOUTH = np.array([[0.0, 0.77, 0.0]], np.float32)  # IOD, head space
NEAR_IOD = 1.6  # from the mouth; such a hand is followed frame by frame
OVAL_MARGIN = 1.1  # of the face's outline about its middle: a hand's wrist lies outside, a face's chin within
MIN_SEEN_S = 0.32  # s that a run is seen for; measured: faces are taken for hands for .24 s at most
MAX_GAP_S = 0.2  # s over which a hand is believed to have been there between
FINGERS_A_PALM = 3.0  # widths of fingers in the width of the palm
MIN_PALM_SHARE = 0.6  # of the palm's length, that its width is taken to have when it is seen from the side


class HandTracker:
    """Looks for hands around the mouth in a stream of frames: every STRIDE_S, and in every frame while one is near.

    Args:
        geometry: of the clip; says where the mouth is.
    """

    def __init__(self, geometry: FaceGeometry) -> None:
        self._geometry = geometry
        self._stride = geometry.frames_in(STRIDE_S)
        self._passed: deque[tuple[int, np.ndarray]] = deque(maxlen=max(1, self._stride - 1))
        self._last_near = -self._stride
        self._found: dict[int, np.ndarray] = {}

    def __enter__(self) -> HandTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the network, if it was ever asked for."""
        if "_network" in vars(self):
            self._network.close()

    @cached_property
    def _network(self) -> Hands:
        """Loaded when it is asked for: a style video is never looked at."""
        from mediapipe.python.solutions.hands import Hands

        return open_graph(lambda: Hands(static_image_mode=True, max_num_hands=2, model_complexity=0))

    def look(self, frame: int, image: Pixels) -> None:
        """Look at the next frame [H, W, 3] uint8."""
        if frame >= len(self._geometry) or not self._geometry.valid[frame]:
            return
        view = warp_image(image, self._view_from_image(frame), VIEW_PX, VIEW_PX)
        follows = frame - self._last_near < self._stride
        if not follows and frame % self._stride:
            self._passed.append((frame, view))
            return
        if self._search(frame, view) and not follows:
            for passed in reversed(self._passed):  # those that were not looked at, from here back
                if not self._search(*passed):
                    break
        self._passed.clear()

    def _search(self, frame: int, view: np.ndarray) -> bool:
        """Find the hands of a frame; true where one is near the mouth."""
        results = cast(Any, self._network.process(view))  # MediaPipe declares no fields
        if not results.multi_hand_landmarks:
            return False
        oval, hands = self._oval(frame), []
        for hand, side in zip(results.multi_hand_landmarks, results.multi_handedness, strict=True):
            points = np.array([(p.x, p.y) for p in hand.landmark], np.float32) * VIEW_PX
            near = np.linalg.norm(points - VIEW_PX / 2, axis=1).min() < NEAR_IOD * VIEW_PX / VIEW_IOD
            outside = cv2.pointPolygonTest(oval, points[WRIST].tolist(), False) < 0
            if side.classification[0].score >= MIN_SCORE and near and outside:
                hands.append(points)
        if not hands:
            return False
        self._last_near = max(self._last_near, frame)
        image_from_view = cv2.invertAffineTransform(self._view_from_image(frame))
        self._found[frame] = np.stack([apply_affine(image_from_view.astype(np.float32), hand) for hand in hands])
        return True

    def _view_from_image(self, frame: int) -> np.ndarray:
        mouth = self._geometry.project(MOUTH[None], slice(frame, frame + 1))[0, 0, :2]
        gain = VIEW_PX / (VIEW_IOD * self._geometry.scale[frame])
        return np.array(
            [[gain, 0, VIEW_PX / 2 - gain * mouth[0]], [0, gain, VIEW_PX / 2 - gain * mouth[1]]], np.float32
        )

    def _oval(self, frame: int) -> np.ndarray:
        """[36, 2] px of the view, the outline of the face, a little enlarged."""
        outline = self._geometry.project(self._geometry.template[None, list(FACE_OVAL)], slice(frame, frame + 1))[0]
        outline = apply_affine(self._view_from_image(frame), outline[:, :2].astype(np.float32))
        middle = outline.mean(0)
        return middle + np.float32(OVAL_MARGIN) * (outline - middle)

    def hands(self) -> dict[int, np.ndarray]:
        """Frame number to the hands near its mouth, [N, 21, 2] px of the frame; short gaps are bridged."""
        max_gap, min_seen = self._geometry.frames_in(MAX_GAP_S), self._geometry.frames_in(MIN_SEEN_S)
        bridged = dict(self._found)
        frames = sorted(self._found)
        for before, after in zip(frames, frames[1:], strict=False):
            first, last = self._found[before], self._found[after]
            if 1 < after - before <= max_gap + 1 and len(first) == len(last) == 1:
                for frame in range(before + 1, after):
                    share = np.float32((frame - before) / (after - before))
                    bridged[frame] = first + share * (last - first)
        numbers = np.array(sorted(bridged), int)
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
        believed = [run for run in runs if sum(int(frame) in self._found for frame in run) >= min_seen]
        return {int(frame): bridged[frame] for run in believed for frame in run}


def draw_hands(hands: np.ndarray, window_from_image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw where hands are: palms filled, fingers as thick as they are.

    Args:
        hands: [N, 21, 2] px of the image.
        window_from_image: [2, 3].
        height: px of the window.
        width: px of the window.

    Returns:
        [height, width] bool
    """
    mask = np.zeros((height, width), np.uint8)
    for hand in hands:
        points = apply_affine(window_from_image.astype(np.float32), hand.astype(np.float32))
        across = np.linalg.norm(points[INDEX] - points[LITTLE])
        along = np.linalg.norm(points[WRIST] - points[MIDDLE])
        thickness = max(1, round(float(max(across, MIN_PALM_SHARE * along)) / FINGERS_A_PALM))
        outlines = [np.round(points[list(PALM)]).astype(np.int32)]
        cv2.fillPoly(mask, outlines, 1)
        cv2.polylines(mask, outlines, True, 1, thickness)
        cv2.polylines(mask, [np.round(points[list(f)]).astype(np.int32) for f in FINGERS], False, 1, thickness)
    return mask > 0
