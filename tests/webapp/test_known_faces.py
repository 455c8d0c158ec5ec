"""Faces read once in a session are not read again for the same media, and go with the session."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.options import DubbingOptions
from personatalk.progress import Run
from personatalk.stages import Faces, SourceFace
from personatalk.webapp.known_faces import (
    KEPT,
    TRACKING_SHARE,
    are_known,
    find_or_recall,
    read_or_recall,
    readings_left,
)
from personatalk.webapp.sessions import Sessions


class Reader:
    """Stands for the tracker: gives a face that tells by its size how often something was read."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, video, choices, run) -> list[Faces]:
        with run.stage("track", "tracking"), run.stage("fit", "fitting"):
            return [self.read(video, options) for options in choices]

    def read(self, video, options) -> Faces:
        self.times += 1
        source = face_of(video, self.times)
        reference = face_of(options.reference_video, -self.times) if options.reference_video else source
        style = face_of(options.style_video, self.times) if options.style_video else reference
        return Faces(source=source, reference=reference, style=style)


def face_of(video, scale: float) -> SourceFace:
    zeros = np.zeros((2, 3), np.float32)
    geometry = FaceGeometry(
        template=zeros, expression=zeros, rotation=np.stack([np.eye(3)] * 2), translation=zeros[:, :2],
        scale=np.full(2, scale), valid=np.ones(2, bool), times=np.arange(2.0),
    )  # fmt: skip
    return SourceFace(video=video, geometry=geometry, occlusion=None, pts=np.arange(2))


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"pictures")
    return path


def ask(reader, folder, video, **options) -> tuple[Faces, Run]:
    run = Run(None, None)
    return read_or_recall(reader, folder, video, [DubbingOptions(**options)], run=run)[0], run


def test_the_same_content_is_read_once_whatever_its_path(tmp_path, clip):
    reader, copied = Reader(), tmp_path / "again.mp4"
    shutil.copy(clip, copied)
    first, _ = ask(reader, tmp_path / "memory", clip)
    again, run = ask(reader, tmp_path / "memory", copied)
    assert reader.times == 1 and again.source.geometry.scale[0] == first.source.geometry.scale[0]
    assert again.source.video == copied and again.is_same_clip
    assert again.reference is again.source and again.style is again.source
    assert set(run.timings) == {"track", "fit"}  # as a report lists them


def test_other_content_or_another_choice_is_read_anew(tmp_path, clip):
    reader, other = Reader(), tmp_path / "other.mp4"
    other.write_bytes(b"other pictures")
    ask(reader, tmp_path / "memory", clip)
    for number, (video, options) in enumerate(
        [
            (other, {}),
            (clip, {"face_point": (1.0, 2.0)}),
            (clip, {"face": 1}),
            (clip, {"style_video": other}),
        ],
        start=2,
    ):
        ask(reader, tmp_path / "memory", video, **options)
        assert reader.times == number
    clip.write_bytes(b"changed!")
    ask(reader, tmp_path / "memory", clip)
    assert reader.times == number + 1


@pytest.mark.parametrize(
    "choice", [{"face": 1}, {"face_point": (1.0, 2.0)}, {"refine": "none"}, {"tracker": "face-alignment"}]
)
def test_what_was_read_with_one_choice_is_not_known_with_another(tmp_path, clip, choice):
    ask(Reader(), tmp_path / "memory", clip)
    assert are_known(tmp_path / "memory", clip, DubbingOptions())
    assert not are_known(tmp_path / "memory", clip, DubbingOptions(**choice))


def test_a_reference_clip_keeps_its_own_path_and_is_not_mixed_with_the_clip(tmp_path, clip):
    reader, other = Reader(), tmp_path / "other.mp4"
    other.write_bytes(b"other pictures")
    ask(reader, tmp_path / "memory", clip, reference_video=other)
    moved = tmp_path / "moved.mp4"
    shutil.move(other, moved)
    found, _ = ask(reader, tmp_path / "memory", clip, reference_video=moved)
    assert reader.times == 1 and not found.is_same_clip
    assert (found.source.video, found.reference.video) == (clip, moved) and found.style is found.reference
    assert found.source.geometry.scale[0] > 0 > found.reference.geometry.scale[0]


def test_only_the_last_few_are_kept(tmp_path):
    reader, folder, options = Reader(), tmp_path / "memory", DubbingOptions()
    clips = [tmp_path / f"{number}.mp4" for number in range(KEPT + 1)]
    for number, path in enumerate(clips):
        path.write_bytes(bytes([number]))
        ask(reader, folder, path)
    assert len(list(folder.iterdir())) == KEPT and are_known(folder, clips[-1], options)


def test_what_a_session_remembers_is_its_own_and_goes_with_it(tmp_path, clip):
    sessions, reader = Sessions(tmp_path / "served", 100), Reader()
    memory = sessions.memory("one")
    assert memory == sessions.memory("one") != sessions.memory("two")
    ask(reader, memory, clip)
    assert memory.is_dir() and not are_known(sessions.memory("two"), clip, DubbingOptions())
    sessions.end("one")
    assert not memory.exists() and sessions.memory("one") != memory


def test_a_run_that_fails_leaves_nothing_behind(tmp_path, clip):
    def broken(*_):
        raise RuntimeError("no face")

    with pytest.raises(RuntimeError):
        read_or_recall(broken, tmp_path / "memory", clip, [DubbingOptions()], run=Run(None, None))
    assert not are_known(tmp_path / "memory", clip, DubbingOptions())


def test_of_several_faces_only_those_that_are_new_are_read(tmp_path, clip):
    reader, memory = Reader(), tmp_path / "memory"
    first, _ = ask(reader, memory, clip, face=1)
    choices = [DubbingOptions(face=number) for number in (0, 1, 2)]
    assert readings_left(memory, clip, choices) == pytest.approx(2 - TRACKING_SHARE)  # tracked once for both
    run = Run(None, None)
    found = read_or_recall(reader, memory, clip, choices, run=run)
    assert reader.times == 3 and run.done <= 1
    assert [faces.source.geometry.scale[0] for faces in found] == [2, first.source.geometry.scale[0], 3]
    assert readings_left(memory, clip, choices) == 0


def test_who_is_seen_is_found_once_and_spares_the_tracking(tmp_path, clip):
    found, memory = [], tmp_path / "memory"

    def find(video, tracker, run) -> str:
        found.append(video)
        return f"cast {len(found)}"

    def ask_who(video, tracker="mediapipe"):
        return find_or_recall(find, memory, video, tracker, run=Run(None, None))

    assert readings_left(memory, clip, [DubbingOptions()]) == pytest.approx(1)
    copied = shutil.copy(clip, tmp_path / "again.mp4")
    assert ask_who(clip) == ask_who(copied) == "cast 1"
    assert readings_left(memory, clip, [DubbingOptions()]) == pytest.approx(1 - TRACKING_SHARE)
    assert ask_who(clip, "face-alignment") == "cast 2"
    assert not are_known(memory, clip, DubbingOptions())
