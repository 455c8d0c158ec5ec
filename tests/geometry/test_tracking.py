"""The tracker follows a face that comes so near that it fills the picture, and more than that."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np
import pytest
from media_samples import ASSETS
from person_clips import speaker

from personatalk.geometry.tracking import MediaPipeDetector, MediaPipeTracker, track_face, turned
from personatalk.media import read_frames

SIDE = 360  # px


@pytest.fixture(scope="module")
def head():
    return next(iter(read_frames(ASSETS / "rendered_head.mp4"))).image


def close_up(image: np.ndarray, landmarks: np.ndarray, faces: float) -> np.ndarray:
    """A square around a face, as wide as so many faces."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    middle, half = (low + high) / 2, faces * (high - low).max() / 2
    left, top = np.maximum(middle - half, 0).astype(int)
    right, bottom = (middle + half).astype(int)
    return cv2.resize(image[top:bottom, left:right], (SIDE, SIDE))


def test_a_zoom_onto_a_face_is_followed_to_its_end(head):
    with MediaPipeTracker() as tracker:
        landmarks = tracker.track(head)
    frames = [(t / 25, close_up(head, landmarks, faces)) for t, faces in enumerate(np.linspace(2.5, 0.75, 30))]
    with MediaPipeTracker() as tracker:
        assert track_face(frames, tracker, width=SIDE, height=SIDE).detected.all()
    detector = MediaPipeDetector()
    left, top, right, bottom = detector.detect(frames[-1][1])[0]
    detector.close()
    assert 0 <= (left + right) / 2 <= SIDE and 0 <= (top + bottom) / 2 <= SIDE


@pytest.mark.parametrize("name", ["rendered_head.mp4", "grid_speaker.mp4"])
def test_a_face_that_stands_on_its_head_has_its_lips_where_they_are(name):
    images = [frame.image for frame in islice(read_frames(ASSETS / name), 12)]
    height, width = images[0].shape[:2]
    with MediaPipeTracker() as tracker:
        upright = np.stack([tracker.track(image)[:, :2] for image in images])
    with MediaPipeTracker() as tracker:
        found = np.stack([tracker.track(turned(image))[:, :2] for image in images])
    apart = np.linalg.norm((width, height) - found - upright, axis=-1)
    assert apart.mean() < 0.02 * np.ptp(upright[0, :, 0]), "of the width of the face"


def test_a_face_on_its_side_is_followed_as_it_is():
    with MediaPipeTracker() as tracker:
        landmarks = tracker.track(np.ascontiguousarray(np.rot90(speaker(1)[0])))
    down = landmarks[152, :2] - landmarks[[33, 263], :2].mean(0)  # from the eyes to the chin
    assert np.degrees(np.arctan2(*down)) == pytest.approx(90, abs=10)
