"""The finished examples: made once, kept, copied for each session, made anew when what made them changed."""

from __future__ import annotations

import threading
import time

import imageio.v3 as iio
import pytest
from conftest import CopyPipeline

from personatalk.media import probe_video
from personatalk.media.still import is_still
from personatalk.webapp import strings
from personatalk.webapp.examples import ASSETS, ExampleCache, shipped_examples
from personatalk.webapp.jobs import in_this_process
from personatalk.webapp.limits import Limits
from personatalk.webapp.service import DubbingService
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.time_estimate import TimeEstimator


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
def service(pipeline, tmp_path):
    return DubbingService(
        *in_this_process(pipeline), Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json")
    )


def test_an_example_is_dubbed_once_and_each_session_gets_its_own_copy(service, pipeline, tmp_path):
    example = shipped_examples()[0]
    cache = ExampleCache(service, tmp_path / "kept")
    first, clip, speech = cache.outcome(example, "me")
    second, _, _ = ExampleCache(service, tmp_path / "kept").outcome(example, "you")  # a later process
    assert pipeline.runs == 1
    assert first.folder != second.folder and first.video.read_bytes() == second.video.read_bytes()
    assert first.before == clip and clip.read_bytes() == example.clip.read_bytes()
    assert speech.read_bytes() == example.speech.read_bytes()
    service.sessions.end("me")
    assert not first.video.exists() and second.video.exists()


def test_a_finished_example_is_there_at_once_while_others_use_the_pipeline(service, tmp_path):
    cache = ExampleCache(service, tmp_path / "kept")
    cache.make(shipped_examples()[0])
    with service.queue.turn(), cache._lock:  # a run goes on, and another example is being made
        outcome, _, _ = cache.outcome(shipped_examples()[0], "me")
    assert outcome.video.exists()


def test_an_example_has_a_square_thumbnail(tmp_path):
    for example in shipped_examples():
        height, width, _ = iio.imread(example.thumbnail(tmp_path)).shape
        assert width == height


def test_a_new_result_leaves_the_example_in_steps_1_and_2(service, tmp_path):
    outcome, _, speech = ExampleCache(service, tmp_path / "kept").outcome(shipped_examples()[0], "me")
    service.sessions.remove("me", outcome.folder)
    assert outcome.before.exists() and speech.exists() and not outcome.video.exists()


def test_other_code_or_weights_make_the_example_anew(service, pipeline, tmp_path, monkeypatch):
    example = shipped_examples()[0]
    kept = ExampleCache(service, tmp_path / "kept").make(example)
    monkeypatch.setattr(ExampleCache, "fingerprint", lambda self: "other")
    assert ExampleCache(service, tmp_path / "kept").make(example) != kept
    assert pipeline.runs == 2 and not kept.exists()


def test_a_picture_is_compared_with_itself_as_a_clip(service, tmp_path):
    example = next(example for example in shipped_examples() if is_still(example.clip))
    outcome, clip, _ = ExampleCache(service, tmp_path / "kept").outcome(example, "me")
    assert clip.read_bytes() == example.clip.read_bytes()  # given in step 1
    assert probe_video(outcome.before).num_frames == probe_video(outcome.video).num_frames


def test_who_waits_for_another_example_is_told_so_and_goes_before_the_rest(service, pipeline, tmp_path):
    cache, examples, told = ExampleCache(service, tmp_path / "kept"), shipped_examples(), []
    go_on, made, dub = threading.Event(), [], pipeline.dub

    def slow(video, *args, progress, **kwargs):
        progress(0.3, "rendering")
        made.append(video.stem)
        assert go_on.wait(30)
        return dub(video, *args, progress=progress, **kwargs)

    def tell(share, stage):
        told.append(stage)
        go_on.set()

    pipeline.dub = slow
    cache.warm()
    while not made:
        time.sleep(0.01)
    cache.outcome(examples[4], "me", tell)
    assert told[0].startswith(strings.EXAMPLE_BEFORE.format(name=examples[0].name, stage="rendering"))
    assert made[:2] == [examples[0].clip.stem, examples[4].clip.stem]


def test_every_shipped_clip_is_an_example_with_a_speech_and_a_name():
    examples = shipped_examples()
    shipped = {path for path in ASSETS.iterdir() if path.suffix in (".mp4", ".jpg")}
    assert {example.clip for example in examples} == shipped
    assert {example.name for example in examples} == set(strings.EXAMPLE_NAMES.values())
    assert all(example.speech.is_file() for example in examples)
