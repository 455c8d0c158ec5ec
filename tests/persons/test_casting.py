"""Who is dubbed of several persons, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from media_samples import ASSETS, psnr
from person_clips import FPS, images_of, rendered_head, speaker, write_clip

from personatalk.casting import choose_person, persons_report, reason_against
from personatalk.cli.faces import read_face
from personatalk.cli.main import main
from personatalk.errors import OptionError, PersonaTalkError
from personatalk.options import DubbingOptions
from personatalk.persons.search import find_persons

pytestmark = pytest.mark.weights

SPEECH = ASSETS / "speech_bridge.wav"
SEAM = 320  # px; the speaker stands to the left of it, the rendered head to the right
NUM_FRAMES = 75


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The speaker and the head side by side, with the speaker's sound."""
    pairs = zip(speaker(NUM_FRAMES), rendered_head(NUM_FRAMES), strict=True)
    frames = [np.concatenate([left, right], 1) for left, right in pairs]
    return write_clip(tmp_path_factory.mktemp("two") / "two.mp4", frames, ASSETS / "grid_speaker.mp4")


@pytest.fixture(scope="module")
def cast(two, pipeline):
    return find_persons(two, pipeline.face_model)


def is_left(person) -> bool:
    return person.box[2] < SEAM


def test_the_one_who_speaks_is_heard(two, cast, pipeline):
    parts = pipeline.listener.parts(two, cast)
    assert [part.is_speaking for part in parts] == [is_left(part.person) for part in parts]
    for each in (cast, replace(cast, persons=cast.persons[::-1])):
        assert is_left(choose_person(each, DubbingOptions(face="speaking"), two, pipeline.listener))


def test_a_person_is_chosen_by_number_and_by_point(two, cast):
    for number, person in enumerate(cast.persons):
        assert choose_person(cast, DubbingOptions(face=number), two, None) is person
        x, y = (person.box[:2] + person.box[2:]) / 2
        assert choose_person(cast, DubbingOptions(face_point=(float(x), float(y))), two, None) is person
    with pytest.raises(OptionError, match="shows 2 persons, counted from 0"):
        choose_person(cast, DubbingOptions(face=2), two, None)


def test_where_nobody_speaks_the_choice_is_refused(tmp_path, pipeline):
    clip = write_clip(tmp_path / "silent.mp4", speaker(30))
    cast = find_persons(clip, pipeline.face_model)
    with pytest.raises(OptionError, match="nobody is seen to speak"):
        choose_person(cast, DubbingOptions(face="speaking"), clip, pipeline.listener)


@pytest.mark.parametrize("number", [0, 1])
def test_only_the_chosen_face_is_changed(two, cast, pipeline, tmp_path, number):
    result = pipeline.dub(two, SPEECH, tmp_path / "dubbed.mp4", DubbingOptions(face=number))
    source, dubbed = images_of(two), images_of(result.video)
    halves = np.s_[:, :, :SEAM], np.s_[:, :, SEAM:]
    own, other = halves if is_left(cast.persons[number]) else halves[::-1]
    assert min(map(psnr, source[own], dubbed[own])) < 40 < min(map(psnr, source[other], dubbed[other]))
    reasons = [person["left_alone_because"] for person in result.report["persons"]]
    assert reasons[number] is None and reasons[1 - number] == "another person was chosen"


def test_small_and_short_faces_are_left_alone_with_the_reason(tmp_path, pipeline):
    frames = speaker(30)
    for image, face in zip(frames, rendered_head(30), strict=True):
        image[150:230, 214:] = face[::3, ::3][:, :106]
    cast = find_persons(write_clip(tmp_path / "small.mp4", frames), pipeline.face_model)
    assert len(cast.persons) == 2
    assert persons_report(cast, cast.persons[0])[1]["left_alone_because"] == "less than 60 pixels wide"
    frames = [*rendered_head(40), *speaker(20)]
    cast = find_persons(write_clip(tmp_path / "short.mp4", frames), pipeline.face_model)
    assert reason_against(cast.persons[1]) == "seen for less than a second"
    assert reason_against(cast.persons[0]) is None
    assert reason_against(cast.persons[0], turn_deg=80) == "turned away from the camera"


def test_the_command_lists_persons_and_writes_their_pictures(two, tmp_path, capsys):
    assert main(["faces", str(two), "-o", str(tmp_path / "faces")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines] == ["0:", "1:"]
    assert sum("not speaking" in line for line in lines) == 1
    assert all(f"seen for {NUM_FRAMES / FPS:.1f} s" in line for line in lines)
    assert sorted(path.name for path in (tmp_path / "faces").iterdir()) == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, (None, None)), (["1"], (1, None)), (["speaking"], ("speaking", None)), (["3", "4.5"], (None, (3.0, 4.5))),
     (["3,4"], (None, (3.0, 4.0)))],
)  # fmt: skip
def test_the_option_takes_a_number_a_point_or_who_speaks(given, expected):
    assert read_face(given) == expected


@pytest.mark.parametrize("given", [["left"], ["1", "2", "3"], ["1.5"], ["1", "b"]])
def test_anything_else_is_refused(given):
    with pytest.raises(PersonaTalkError, match="--face"):
        read_face(given)
