"""Hands before the face: when they are looked for, which are believed, and where they are drawn."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.geometry.known_faces import known_face
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mesh import FaceMesh
from personatalk.occlusion import hands as hands_module
from personatalk.occlusion.hands import MIN_SEEN_S, STRIDE_S, VIEW_IOD, VIEW_PX, HandTracker, draw_hands

# a flat hand that points up, its wrist at the bottom; in shares of its height
HAND = np.array(
    [(0.5, 1.0), (0.3, 0.85), (0.2, 0.7), (0.12, 0.6), (0.05, 0.5)]
    + [(0.3 + 0.13 * finger, 0.55 - 0.17 * joint) for finger in range(4) for joint in range(4)],
    np.float32,
)  # fmt: skip


class FakeHands:
    """Sees what a test says: frame number (the picture's level) to (hand in shares of the view, score)."""

    seen: dict[int, tuple[np.ndarray, float]] = {}
    asked: list[int] = []

    def __init__(self, **_):
        pass

    def process(self, view):
        frame = int(view[VIEW_PX // 2, VIEW_PX // 2, 0])
        self.asked.append(frame)
        if frame not in self.seen:
            return SimpleNamespace(multi_hand_landmarks=None, multi_handedness=None)
        points, score = self.seen[frame]
        hand = SimpleNamespace(landmark=[SimpleNamespace(x=x, y=y) for x, y in points])
        return SimpleNamespace(
            multi_hand_landmarks=[hand],
            multi_handedness=[SimpleNamespace(classification=[SimpleNamespace(score=score)])],
        )

    def close(self):
        pass


@pytest.fixture(scope="module")
def geometry():
    face_model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    return fit_track(known_face(face_model, noise_iod=0, seed=4).track, face_model)


def follow(geometry, monkeypatch, seen):
    """Let a tracker look at pictures whose level is their number."""
    from mediapipe.python.solutions import hands

    monkeypatch.setattr(hands, "Hands", FakeHands)
    monkeypatch.setattr(FakeHands, "seen", seen)
    monkeypatch.setattr(FakeHands, "asked", [])
    with HandTracker(geometry) as tracker:
        for frame in range(len(geometry)):
            tracker.look(frame, np.full((300, 300, 3), frame, np.uint8))
    return tracker.hands(), FakeHands.asked


def over_mouth(shift=(0.0, 0.0)):
    """A hand before the mouth, its wrist well below the chin, in shares of the view."""
    return (HAND - (0.5, 0.3)) * 0.6 + 0.5 + np.array(shift, np.float32)


def test_a_hand_is_followed_in_every_frame_from_its_first_to_its_last(geometry, monkeypatch):
    seen = {frame: (over_mouth(), 0.99) for frame in range(20, 45)}
    hands, asked = follow(geometry, monkeypatch, seen)
    assert sorted(hands) == list(range(20, 45))
    assert set(range(19, 50)) <= set(asked)
    early = [frame for frame in asked if frame < 18]
    assert np.diff(early).min() == 25 * STRIDE_S  # while no hand is near, few frames are looked at


def test_hands_come_back_in_pixels_of_the_frame(geometry, monkeypatch):
    hands, _ = follow(geometry, monkeypatch, {frame: (over_mouth(), 0.99) for frame in range(20, 45)})
    gain = VIEW_PX / (VIEW_IOD * geometry.scale[30])
    mouth = geometry.project(hands_module.MOUTH[None], slice(30, 31))[0, 0, :2]
    expected = mouth + (over_mouth() - 0.5) * VIEW_PX / gain
    np.testing.assert_allclose(hands[30][0], expected, atol=0.01)


def test_a_short_gap_is_bridged_between_its_ends(geometry, monkeypatch):
    seen = {frame: (over_mouth((0.01 * (frame - 20), 0)), 0.99) for frame in range(20, 40) if frame not in (30, 31)}
    hands, _ = follow(geometry, monkeypatch, seen)
    assert sorted(hands) == list(range(20, 40))
    moved = hands[32][0] - hands[29][0]
    gain = geometry.scale[[29, 32]].mean() * VIEW_IOD
    assert np.linalg.norm(moved.mean(0)) == pytest.approx(0.03 * gain, rel=0.3)
    np.testing.assert_allclose(hands[30][0], hands[29][0] + moved / 3, atol=0.01)


@pytest.mark.parametrize("why", ["seen for a moment only", "unsure", "its wrist inside the face", "far from the mouth"])
def test_what_is_no_hand_before_the_face_is_not_believed(geometry, monkeypatch, why):
    frames, hand, score = range(20, 45), over_mouth(), 0.99
    if why == "seen for a moment only":
        frames = range(20, 20 + round(25 * MIN_SEEN_S) - 1)
    elif why == "unsure":
        score = 0.94
    elif why == "its wrist inside the face":
        hand = (HAND - (0.5, 0.6)) * 0.15 + 0.5
    else:
        hand = over_mouth((0.45, 0.45))
    assert not follow(geometry, monkeypatch, {frame: (hand, score) for frame in frames})[0]
    assert follow(geometry, monkeypatch, {frame: (over_mouth(), 0.99) for frame in range(20, 45)})[0]


def test_nothing_is_looked_for_where_no_face_is(geometry, monkeypatch):
    assert not follow(replace(geometry, valid=np.zeros(len(geometry), bool)), monkeypatch, {})[1]


def test_palm_and_fingers_are_drawn_and_the_space_between_them_is_not():
    hand = (HAND * 200 + 20)[None]
    mask = draw_hands(hand, np.array([[1, 0, 0], [0, 1, 0]], np.float32), 240, 240)
    for x, y in hand[0].round().astype(int):
        assert mask[y, x]
    palm = hand[0, [0, 5, 9, 13, 17]].mean(0).round().astype(int)
    assert mask[palm[1], palm[0]]
    assert not mask[:, :15].any() and not mask[:10].any()
    between = (hand[0, 4] + hand[0, 8]) / 2  # thumb and index finger
    assert not mask[int(between[1]) - 20, int(between[0])]
    half = draw_hands(hand, np.array([[0.5, 0, 0], [0, 0.5, 0]], np.float32), 120, 120)
    assert half.sum() == pytest.approx(mask.sum() / 4, rel=0.1)


def test_mesh_and_hands_agree_where_the_mouth_is(geometry):
    mesh = FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))
    template_mouth = mesh.face_model.mean[[13, 14]].mean(0)
    assert np.abs(template_mouth[:2] - hands_module.MOUTH[0, :2]).max() < 0.1
