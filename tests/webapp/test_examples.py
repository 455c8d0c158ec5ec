"""The finished examples: made once, kept, copied for each session, made anew when what made them changed."""

from __future__ import annotations

import pytest
from conftest import CopyPipeline
from PIL import Image

from personatalk.webapp import strings
from personatalk.webapp.dubber import Dubber
from personatalk.webapp.examples import ExampleCache, shipped_examples
from personatalk.webapp.limits import Limits
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.speed import SpeedRecord


@pytest.fixture
def pipeline():
    pipeline, dub = CopyPipeline(), CopyPipeline.dub
    pipeline.runs = 0

    def counted(*args, **kwargs):
        pipeline.runs += 1
        return dub(pipeline, *args, **kwargs)

    pipeline.dub = counted
    return pipeline


@pytest.fixture
def dubber(pipeline, tmp_path):
    return Dubber(pipeline, Sessions(tmp_path, 100), Limits(), SpeedRecord(tmp_path / "speed.json"))


def test_an_example_is_dubbed_once_and_each_session_gets_its_own_copy(dubber, pipeline, tmp_path):
    example = shipped_examples()[0]
    cache = ExampleCache(dubber, tmp_path / "kept")
    first, speech = cache.outcome(example, "me")
    second, _ = ExampleCache(dubber, tmp_path / "kept").outcome(example, "you")  # a later process
    assert pipeline.runs == 1
    assert first.folder != second.folder and first.video.read_bytes() == second.video.read_bytes()
    assert first.before.read_bytes() == example.clip.read_bytes()
    assert speech.read_bytes() == example.speech.read_bytes()
    dubber.sessions.end("me")
    assert not first.video.exists() and second.video.exists()


def test_a_finished_example_is_there_at_once_while_others_use_the_pipeline(dubber, tmp_path):
    cache = ExampleCache(dubber, tmp_path / "kept")
    cache.make(shipped_examples()[0])
    with dubber.line.turn(), cache._lock:  # a run goes on, and another example is being made
        outcome, _ = cache.outcome(shipped_examples()[0], "me")
    assert outcome.video.exists()


def test_an_example_has_a_square_picture(tmp_path):
    for example in shipped_examples():
        with Image.open(example.picture(tmp_path)) as picture:
            assert picture.width == picture.height


def test_a_new_result_leaves_the_example_in_steps_1_and_2(dubber, tmp_path):
    outcome, speech = ExampleCache(dubber, tmp_path / "kept").outcome(shipped_examples()[0], "me")
    dubber.sessions.remove("me", outcome.folder)
    assert outcome.before.exists() and speech.exists() and not outcome.video.exists()


def test_other_code_or_weights_make_the_example_anew(dubber, pipeline, tmp_path, monkeypatch):
    example = shipped_examples()[0]
    kept = ExampleCache(dubber, tmp_path / "kept").make(example)
    monkeypatch.setattr(ExampleCache, "fingerprint", lambda self: "other")
    assert ExampleCache(dubber, tmp_path / "kept").make(example) != kept
    assert pipeline.runs == 2 and not kept.exists()


def test_each_shipped_clip_has_a_speech_and_a_name():
    examples = shipped_examples()
    assert {example.name for example in examples} == set(strings.EXAMPLE_NAMES.values())
