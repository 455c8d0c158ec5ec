"""The persons of a whole clip are listed once, chosen by number, and may each get a speech of their own."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from conftest import write_clip, write_speech
from media_samples import ASSETS, write_two_faces
from seen_persons import BRIEF, CAST, LEFT, RIGHT, TINY, CastPipeline, cast_of, person_at

from personatalk import pipeline as pipeline_module
from personatalk.errors import CancelledError, MediaError, NoFaceError, OptionError
from personatalk.inspection.recording import Inspection
from personatalk.options import DubbingOptions
from personatalk.progress import Run
from personatalk.speech.sync_network import Synchrony
from personatalk.webapp import strings
from personatalk.webapp.clip_judgement import ClipFacts
from personatalk.webapp.face_panel import FacePanel, _first_frame_handler, as_html
from personatalk.webapp.jobs import Outcome, in_this_process
from personatalk.webapp.limits import Limits
from personatalk.webapp.persons_list import ClipPersons, ListedPerson, list_persons, other_persons
from personatalk.webapp.preview import SOURCE_S, Job, keeps_numbers, preview_of
from personatalk.webapp.run_summary import summarise
from personatalk.webapp.service import DubbingService, MissingInputError, Request
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.sync_judge import SyncJudge
from personatalk.webapp.time_estimate import TimeEstimator


@pytest.fixture
def pipeline_seen() -> CastPipeline:
    return CastPipeline()


@pytest.fixture
def service(pipeline_seen, tmp_path) -> DubbingService:
    speed = TimeEstimator(tmp_path / "speed.json")
    return DubbingService(*in_this_process(pipeline_seen), Sessions(tmp_path / "served", 100), Limits(seconds=5), speed)


@pytest.fixture
def asked(clip, speech, tmp_path) -> Request:
    """A speech for two."""
    other = write_speech(tmp_path / "other.wav", 1.0)
    return Request(clip=clip, speech=speech, consent=True, options=DubbingOptions(face=RIGHT), others={LEFT: other})


def test_all_are_listed_and_those_that_cannot_be_dubbed_have_the_reason(clip):
    found = list_persons(CastPipeline(), clip, None, Run(None, None))
    assert [person.reason for person in found.persons] == [None, "small", "short", None]
    assert found.usable == [LEFT, RIGHT] and found.chosen == LEFT
    listed = as_html(found.persons)
    assert listed.count("<li") == 4 and listed.count("data-unusable") == 2
    assert "seen for 2.0 s" in listed and strings.REASONS["small"] in listed and strings.REASONS["short"] in listed


def test_who_is_turned_away_cannot_be_dubbed_and_who_speaks_is_marked(clip):
    def parts(video, cast):
        return [
            SimpleNamespace(number=number, person=person, turn_deg=80.0 * (number == LEFT), is_speaking=number == RIGHT)
            for number, person in enumerate(cast.persons)
        ]

    pipeline = CastPipeline()
    pipeline.listener = SimpleNamespace(parts=parts)
    found = list_persons(pipeline, clip, None, Run(None, None))
    assert found.persons[LEFT].reason == "turned" and found.chosen == RIGHT
    assert [person.is_speaking for person in found.persons] == [False, False, False, True]
    assert strings.PERSON_SPEAKING in as_html(found.persons[RIGHT:])


@pytest.mark.parametrize(("x", "chosen"), [(60, LEFT), (490, RIGHT), (165, LEFT)])
def test_the_place_chosen_before_chooses_the_person_there_if_it_can_be_dubbed(clip, x, chosen):
    assert list_persons(CastPipeline(), clip, (x, 80), Run(None, None)).chosen == chosen


def test_where_nobody_is_seen_it_is_said(service, pipeline_seen, clip, monkeypatch):
    monkeypatch.setattr(pipeline_seen, "find_cast", lambda *_: cast_of())
    with pytest.raises(NoFaceError, match="^No face was found in the clip"):
        service.find_persons(clip, None, "me", None)
    assert not [path for path in service.sessions.runs.iterdir() if path.is_dir()]


def test_a_search_tells_how_far_it_is_and_leaves_no_folder(service, clip):
    told = []
    found = service.find_persons(clip, (490, 80), "me", lambda *given: told.append(given))
    assert (found.clip, found.chosen) == (clip, RIGHT) and (0.5, "looking") in told
    assert not list(service.sessions.runs.iterdir())


def test_another_clip_ends_the_search(service, pipeline_seen, clip, monkeypatch):
    begun, ended = threading.Event(), []

    def look_forever(video, tracker, run):
        begun.set()
        while True:
            run.check()

    def search() -> None:
        with pytest.raises(CancelledError):
            service.find_persons(clip, None, "me", None)
        ended.append(True)

    monkeypatch.setattr(pipeline_seen, "find_cast", look_forever)
    thread = threading.Thread(target=search, daemon=True)
    thread.start()
    assert begun.wait(10)
    service.stop_search("somebody else")
    thread.join(0.2)
    assert not ended
    service.stop_search("me")
    thread.join(10)
    assert ended


@pytest.mark.parametrize("run", ["dub", "preview"])
def test_the_speech_of_each_reaches_the_pipeline(service, pipeline_seen, asked, speech, run):
    getattr(service, run)(asked, "me", None)
    assert pipeline_seen.speeches == {RIGHT: speech, LEFT: asked.others[LEFT]}
    assert list(pipeline_seen.speeches) == [RIGHT, LEFT]  # the panels show the chosen one
    assert pipeline_seen.options.face is None


def test_one_person_is_dubbed_by_number(service, pipeline_seen, asked, speech):
    service.dub(replace(asked, others={}), "me", None)
    assert pipeline_seen.speeches == speech and pipeline_seen.options.face == RIGHT


def test_what_cannot_be_is_refused_in_a_sentence(service, pipeline_seen, asked, clip, tmp_path):
    with pytest.raises(OptionError, match="is of one person"):
        service.dub(replace(asked, options=DubbingOptions(face=RIGHT, reference_video=clip)), "me", None)
    with pytest.raises(MissingInputError, match="tick step 3"):
        service.dub(replace(asked, consent=False), "me", None)
    with pytest.raises(MissingInputError, match="step 2"):
        service.dub(replace(asked, speech=None), "me", None)
    with pytest.raises(MediaError, match="speech of person 1 is 7.0 s long; this page takes up to 5.0 s"):
        service.dub(replace(asked, others={LEFT: write_speech(tmp_path / "long.wav", 7.0)}), "me", None)
    with pytest.raises(MediaError, match="^clip.mp4 has no sound"):
        service.dub(replace(asked, others={LEFT: clip}), "me", None)
    assert not hasattr(pipeline_seen, "speeches")


def test_the_estimate_counts_every_face_and_what_is_not_tracked_again(service, asked, clip, monkeypatch):
    works = []
    monkeypatch.setattr(service.time_estimator, "estimate", lambda work: works.append(work) or 1.0)
    assert "for 5 frames" in service.estimate(asked, "me")
    assert "for 5 frames" in service.estimate(replace(asked, others={}), "me")
    assert works[0].rendered == 2 * works[1].rendered and works[1].read < works[0].read < 2 * works[1].read
    assert "longer than the clip" not in service.estimate(replace(asked, others={}), "me")
    long = write_speech(clip.parent / "long.wav", 4.0)
    assert "3.8 s longer than the clip" in service.estimate(replace(asked, others={LEFT: long}), "me")


def test_a_preview_by_number_begins_where_the_first_speaks_and_uses_the_whole_clip_if_nobody_was_looked_for(tmp_path):
    clip = write_clip(tmp_path / "long.mp4", 300)
    late, early = (write_speech(tmp_path / f"{s}.wav", 12.0, silence=s) for s in (6.0, 3.0))
    (tmp_path / "run").mkdir()
    job = Job(clip=clip, speech=late, options=DubbingOptions(face=1), others={0: early})
    planned = preview_of(job, tmp_path / "run")
    assert planned.clip == clip and planned.stretch == pytest.approx((2.9, 4.9), abs=0.01)
    assert 300 / 25 > SOURCE_S


@pytest.mark.parametrize(("number", "keeps"), [(LEFT, True), (TINY, True), (BRIEF, False), (RIGHT, True)])
def test_a_beginning_keeps_the_numbers_of_those_who_are_seen_there_for_long_enough(number, keeps):
    assert keeps_numbers(CAST, [number], 2.0) == keeps


def test_a_beginning_without_somebody_keeps_the_numbers_before_only():
    late = person_at(150, frames=50)
    late = replace(late, seen=[replace(late.seen[0], run=late.seen[0].run.part(45, 50))])
    cast = cast_of(person_at(20), late, person_at(450))
    assert [keeps_numbers(cast, [number], 1.72) for number in range(3)] == [False, False, False]  # too short a time
    cast = replace(cast, times=np.arange(100) / 25, pts=np.arange(100))
    later = replace(late, times=cast.times, seen=[replace(late.seen[0], run=replace(late.seen[0].run, first=70))])
    cast = replace(cast, persons=[cast.persons[0], later, cast.persons[2]])
    assert [keeps_numbers(cast, [number], 2.4) for number in range(3)] == [True, False, False]
    begun = cast.beginning(cast.times[:60], cast.pts[:60])
    assert len(begun.persons) == 2 and begun.shots.last.max() < 60 and len(begun.times) == 60


def test_the_summary_tells_of_each_person():
    calibration, options = {"calibrated_on_s": 3.0}, {"style_strength": 1.0}
    faces = [
        {"face": 1, "num_passed_through": 2, "speaker_calibration": calibration},
        {"face": 0, "num_passed_through": 0, "speaker_calibration": {"calibrated_on_s": 0}, "num_occluded": 4},
    ]
    result = SimpleNamespace(
        num_frames=9,
        fps=25.0,
        timings={"render": 1.0},
        num_passed_through=0,
        report={"options": options, "faces": faces},
    )
    lines = summarise(result).splitlines()
    assert lines[1] == "Person 2: Speaking style: this person's own, calibrated on 3.0 s of own speech."
    assert lines[2] == "Person 2: Frames without a usable face, passed through: 2."
    heard = Synchrony(offset_s=0.0, confidence=12.0, log_odds=None)
    facts = [ClipFacts(open_iod=0.2, turn_deg=8, face_px=150), ClipFacts(open_iod=0.2, turn_deg=41.2, face_px=150)]
    judged = summarise(result, [None, heard], facts=facts).splitlines()
    assert judged[1] == f"Person 2: {strings.SUMMARY_NOT_JUDGED}"
    assert [line for line in judged if "Lip sync: good" in line][0].startswith("Person 1: ")
    assert judged[-1].startswith("⚠️ Person 1: The head is turned 41°")
    assert lines[3].startswith("Person 1: Speaking style: ") and lines[4].startswith("Person 1: Frames with a hand")


@pytest.fixture
def panel() -> FacePanel:
    """Its components stand for themselves."""
    names = ("column", "note", "shown_of", "boxes", "picture", "found", "listing", "face", "others")
    return FacePanel(**{name: name for name in names}, speeches=["first", "second", "third"])


def found_in(clip, *reasons: str | None) -> ClipPersons:
    persons = tuple(
        ListedPerson(number=number, seconds=2.0, is_speaking=False, reason=reason)
        for number, reason in enumerate(reasons)
    )
    return ClipPersons(clip=clip, persons=persons, chosen=None)


def test_a_speech_stays_that_of_its_person_whoever_is_chosen(panel, clip):
    found = found_in(clip, None, "small", None, None, None)
    values = {"found": found, "boxes": [], "first": "a.wav", "second": "", "third": "c.wav"}
    for chosen, expected in ((0, {3: "c.wav"}), (2, {0: "a.wav", 3: "c.wav"}), (3, {0: "a.wav"}), (4, {0: "a.wav"})):
        given = panel.other_speeches(values | {"face": chosen}, clip)
        assert {number: str(path) for number, path in given.items()} == expected
    assert other_persons(found, 0) == [2, 3] and other_persons(found, 4) == [0, 2]  # three in all
    assert other_persons(None, 0) == other_persons(found, None) == []


def test_who_cannot_be_dubbed_cannot_be_chosen_and_another_clips_persons_do_not_count(panel, clip, tmp_path):
    values = {
        "found": found_in(clip, "small", None),
        "boxes": [],
        "face": 1,
        "first": "a.wav",
        "second": "",
        "third": "",
    }
    assert panel.number(values, clip) == 1 and panel.point(values, clip) is None
    for unusable in (0, None, 7):
        with pytest.raises(OptionError, match="Nobody in this clip"):
            panel.number(values | {"face": unusable}, clip)
    other = tmp_path / "other.mp4"
    assert panel.number(values | {"face": 0}, other) is None and panel.other_speeches(values, other) == {}


@pytest.mark.weights
@pytest.mark.slow
def test_a_dub_of_two_after_the_search_does_not_track_the_clip_again(pipeline, tmp_path, monkeypatch):
    clip, *_ = write_two_faces(tmp_path / "two.mp4", 30)
    places = in_this_process(pipeline, SyncJudge.load(pipeline.face_model))
    service = DubbingService(*places, Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json"))
    found = service.find_persons(clip, None, "me", None)
    assert found.usable == [0, 1] and all(person.picture for person in found.persons)
    monkeypatch.setattr(pipeline_module, "find_persons", None)
    speeches = [ASSETS / name for name in ("speech_bridge.wav", "speech_garden.wav")]
    request = Request(
        clip=clip, speech=speeches[0], consent=True, options=DubbingOptions(face=1), others={0: speeches[1]}
    )
    outcome = service.dub(request, "me", None, record=True)
    report = json.loads(outcome.report.read_text())
    assert [face["face"] for face in report["faces"]] == [1, 0]
    assert [person["left_alone_because"] for person in report["persons"]] == [None, None]
    assert "Person 1: " in outcome.summary and "Person 2: " in outcome.summary
    lines = outcome.summary.splitlines()
    assert [line.partition(":")[0] for line in lines if ": Lip sync" in line] == ["Person 2", "Person 1"]
    assert_each_has_its_own_recording(outcome)
    monkeypatch.setattr(pipeline, "_fit_faces", None)
    report = json.loads(service.dub(replace(request, others={}), "me", None).report.read_text())  # read already
    assert report["options"]["face"] == 1
    assert [person["left_alone_because"] for person in report["persons"]] == ["another person was chosen", None]


def assert_each_has_its_own_recording(outcome: Outcome) -> None:
    """The persons are seen where they are, one left of the other, and each is heard with its own speech."""
    assert list(outcome.records) == [1, 0] and outcome.record == outcome.records[1]
    second, first = (Inspection.load(outcome.records[number]) for number in (1, 0))
    assert first.posed.translation[:, 0].max() < second.posed.translation[:, 0].min()
    assert not np.array_equal(first.waveform, second.waveform)
    for inspection in (first, second):
        assert len(inspection.kept) == outcome.num_frames
        assert inspection.attention(0, "lip") is not None and inspection.portrait(0).std() > 10


def test_a_clip_whose_faces_are_shown_is_not_looked_at_again(tmp_path):
    looked = []

    class Service:
        def stop_search(self, session: str) -> None: ...

        def find_faces(self, clip: Path) -> tuple[np.ndarray, np.ndarray]:
            looked.append(clip)
            return np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4))

    request = SimpleNamespace(session_hash="one", headers={})
    show_faces = _first_frame_handler(Service(), num_outputs=12)
    shown_of = show_faces(None, "still.png", None, request)[0]
    assert shown_of == "still.png" and show_faces(None, "still.png", shown_of, request) == [gr.skip()] * 12
    assert show_faces("clip.mp4", None, shown_of, request)[0] == "clip.mp4"
    assert looked == [Path("still.png"), Path("clip.mp4")]
