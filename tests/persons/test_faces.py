"""Faces are followed through a video and told apart, whoever else is in the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from person_clips import FPS, dissolve, rendered_head, speaker, write_clip

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.errors import OptionError
from personatalk.geometry.face_model import FaceModel
from personatalk.media.shots import Shots
from personatalk.persons.faces import FaceRun, FacesTracker
from personatalk.persons.identity import Seen, group_by_light, group_by_person
from personatalk.persons.search import find_persons, split_at_shots

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def face_model():
    return FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")


def side_by_side(count: int, start: int = 0) -> list[np.ndarray]:
    """The speaker, beside the rendered head."""
    pairs = zip(speaker(count, start), rendered_head(count, start), strict=True)
    return [np.concatenate([left, right], 1) for left, right in pairs]


def run_of(first: int, count: int, left: float = 100.0, width: float = 80.0) -> FaceRun:
    landmarks = np.zeros((count, 478, 3), np.float32)
    landmarks[:, 0, :2], landmarks[:, 1:, :2] = (left, 50.0), (left + width, 50.0 + width)
    return FaceRun(first=first, landmarks=landmarks, chips={})


def seen_as(person: int, first: int, count: int, *, shot: int = 0, left: float = 100.0) -> Seen:
    """A run whose pictures show one of several persons."""
    embeddings = np.zeros((3, 128), np.float32)
    embeddings[:, person] = 1.0  # persons are 1.4 apart
    return Seen(run=run_of(first, count, left), shot=shot, embeddings=embeddings)


def sizes(groups: list[list[Seen]]) -> list[list[int]]:
    return sorted(sorted(item.run.first for item in group) for group in groups)


def test_both_persons_are_followed_through_a_cut_that_changes_their_places(face_model, tmp_path):
    frames = [*side_by_side(20), *(np.roll(image, 320, axis=1) for image in side_by_side(20, start=20))]
    cast = find_persons(write_clip(tmp_path / "clip.mp4", frames), face_model)
    assert cast.shots.first.tolist() == [0, 20]
    assert [len(person.frames) for person in cast.persons] == [40, 40]
    for person in cast.persons:
        middles = cast.track_of(person).landmarks[:, :, 0].mean(1)
        assert (middles[:20] < 320).all() != (middles[20:] < 320).all()
    left = cast.at_point((160, 120))
    assert cast.track_of(left).landmarks[0, :, 0].mean() < 320 < cast.track_of(left).landmarks[-1, :, 0].mean()


def test_a_point_outside_of_the_picture_is_refused(face_model, tmp_path):
    cast = find_persons(write_clip(tmp_path / "clip.mp4", speaker(5)), face_model)
    for point in ((-1.0, 10.0), (10.0, 1e9)):
        with pytest.raises(OptionError, match="outside of the picture, which is 320 by 240"):
            cast.at_point(point)


def test_a_face_in_a_dissolve_belongs_to_nobody(face_model, tmp_path):
    frames = [*speaker(30), *dissolve(speaker(8, start=30), rendered_head(8)), *rendered_head(30, start=8)]
    cast = find_persons(write_clip(tmp_path / "clip.mp4", frames), face_model)
    assert len(cast.shots.first) == 2 and len(cast.persons) == 2
    shown = np.concatenate([person.frames for person in cast.persons])
    assert not np.isin(np.arange(32, 36), shown).any()
    later = max(cast.persons, key=lambda person: person.frames[0])
    x, y = (later.box[:2] + later.box[2:]) / 2
    assert cast.at_point((float(x), float(y))) is not later, "a point is one of the first frame that shows a face"


def test_a_film_without_a_face_has_nobody(face_model, tmp_path):
    cast = find_persons(write_clip(tmp_path / "clip.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 5), face_model)
    assert not cast.persons and cast.choose() is None and not cast.track_of(None).detected.any()


def test_runs_end_where_shots_end_and_two_frames_are_none():
    shots = Shots(first=np.array([0, 12, 15]), last=np.array([7, 14, 19]), num_frames=20)
    parts = [(run.frames.tolist(), shot) for run, shot in split_at_shots([run_of(2, 15)], shots)]
    assert parts == [(list(range(2, 8)), 0), (list(range(12, 15)), 1)]


def test_persons_are_told_apart_by_identity_and_by_being_there_together():
    times = np.arange(200) / FPS
    seen = [seen_as(0, 0, 30), seen_as(1, 0, 30, left=300), seen_as(0, 40, 30, shot=1), seen_as(1, 80, 30, shot=2)]
    assert sizes(group_by_person(seen, times)) == [[0, 40], [0, 80]]
    twins = [seen_as(0, 0, 30), seen_as(0, 0, 30, left=300)]
    assert len(group_by_person(twins, times)) == 2


def test_a_face_that_was_lost_for_a_moment_is_the_same_one_unless_it_looks_quite_different():
    times = np.arange(200) / FPS
    blurred = Seen(run=run_of(40, 30), shot=0, embeddings=np.zeros((0, 128), np.float32))
    assert len(group_by_person([seen_as(0, 0, 30), blurred], times)) == 1
    assert len(group_by_person([seen_as(0, 0, 30), seen_as(1, 40, 30)], times)) == 2


class Forgetful:
    """Finds and follows a textured square that moves, and loses it in some frames."""

    def __init__(self, boxes: list[np.ndarray], lost: set[int]) -> None:
        self.boxes, self.lost, self.index, self.is_placed = boxes, lost, 0, False

    def detect(self, image):
        return np.zeros((0, 4)) if self.index in self.lost else self.boxes[self.index][None]

    def begin(self, box) -> None:
        self.is_placed = True

    def follow(self, image):
        self.is_placed = self.index not in self.lost
        left, top, right, bottom = self.boxes[self.index]
        corners = np.array(((left, top, 0), (right, bottom, 0), (right, top, 0), (left, bottom, 0)), np.float32)
        return corners[np.arange(478) % 4] if self.is_placed else None


@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_dropped_out_stretch_is_bridged_where_the_face_is_still_there(is_hidden):
    texture = cv2.resize(np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8), (60, 60))
    boxes = [np.array((50 + t, 40, 110 + t, 100), np.float64) for t in range(70)]
    lost = set(range(12, 57))  # 1.8 s
    face = Forgetful(boxes, lost)
    tracker = FacesTracker(face, lambda: face, FPS)
    for t in range(70):
        image = np.full((160, 240, 3), 90, np.uint8)
        image[40:100, 50 + t : 110 + t] = 30 if is_hidden and t in lost else texture
        face.index = t
        tracker.add(t, image)
    (run,) = tracker.finish()
    assert run.frames.tolist() == [t for t in range(70) if not (is_hidden and t in lost)]
    if not is_hidden:
        np.testing.assert_allclose(run.seen()[14, 0], (64, 40, 0), atol=0.2)


def test_light_is_told_apart():
    def lit(first: int, level: int) -> FaceRun:
        chip = cv2.imencode(".jpg", np.full((150, 150, 3), level, np.uint8))[1].tobytes()
        return FaceRun(first=first, landmarks=run_of(first, 10).landmarks, chips={first: chip})

    assert group_by_light([lit(0, 100), lit(20, 105), lit(40, 200), lit(60, 98)]) == [0, 0, 1, 0]
