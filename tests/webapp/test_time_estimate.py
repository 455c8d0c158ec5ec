"""The estimate before a run, and the cutting of previews."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest
from conftest import CopyPipeline, write_clip, write_speech
from media_samples import ASSETS

from personatalk.media.excerpt import cut_sound
from personatalk.options import DubbingOptions
from personatalk.webapp import strings
from personatalk.webapp.jobs import in_this_process
from personatalk.webapp.limits import Limits, sound_seconds
from personatalk.webapp.preview import SAMPLE_RATE, first_sound
from personatalk.webapp.service import DubbingService, Request
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.time_estimate import BUILT_IN_PIXELS, BUILT_IN_S, START_S, TimeEstimator, Work


@pytest.fixture
def service(tmp_path):
    return DubbingService(
        *in_this_process(CopyPipeline()), Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json")
    )


def work(read: float, rendered: float | None = None, pixels: int = BUILT_IN_PIXELS) -> Work:
    return Work(read=read, rendered=read if rendered is None else rendered, pixels=pixels)


def test_the_speed_is_learnt_from_runs_and_outlives_the_process(tmp_path):
    record = TimeEstimator(tmp_path / "speed.json")
    assert not record.is_measured and record.estimate(work(100)) == pytest.approx(START_S + 100 * BUILT_IN_S)
    for seconds in (9, 10, 1000):  # one outlier
        record.add(work(100), {"track": seconds / 4, "fit": seconds / 4, "render": seconds / 2}, seconds + 3)
    again = TimeEstimator(tmp_path / "speed.json")
    assert again.is_measured and again.estimate(work(50)) == pytest.approx(3 + 5)


@pytest.mark.parametrize("seconds_per_frame", [0.02, 0.3])
def test_the_second_run_is_estimated_within_30_percent_on_machines_of_any_speed(tmp_path, seconds_per_frame):
    def run(frames: int) -> tuple[dict[str, float], float]:
        timings = {"listen": 0.4, "track": 0.2 * seconds_per_frame * frames, "fit": 0.3 * seconds_per_frame * frames,
                   "references": 1.1, "render": 0.5 * seconds_per_frame * frames}  # fmt: skip
        return timings, sum(timings.values()) + 0.8  # the judge

    estimator = TimeEstimator(tmp_path / "speed.json")
    estimator.add(work(75), *run(75))
    for frames in (30, 150, 750):
        assert estimator.estimate(work(frames)) == pytest.approx(run(frames)[1], rel=0.3)


MEASURED = [  # by benchmarks.time_estimate: pixels, frames, ms per frame of reading and of rendering, s of all else
    (360 * 288, 75, 19.3, 43.1, 1.14),
    (360 * 288, 150, 18.7, 41.0, 1.53),
    (1280 * 720, 125, 22.7, 59.4, 1.68),
    (1280 * 720, 225, 22.4, 58.9, 2.05),
    (1920 * 1080, 125, 29.3, 81.0, 2.07),
    (1920 * 1080, 75, 33.0, 92.5, 1.75),
]


@pytest.mark.parametrize("slower", [1.0, 4.0])
@pytest.mark.parametrize("first", MEASURED)
def test_one_run_is_enough_for_other_sizes_and_lengths(tmp_path, first, slower):
    def run(pixels: int, frames: int, read_ms: float, render_ms: float, rest_s: float) -> tuple[Work, dict, float]:
        timings = {"fit": slower * frames * read_ms / 1000, "render": slower * frames * render_ms / 1000}
        return work(frames, pixels=pixels), timings, sum(timings.values()) + slower * rest_s

    estimator = TimeEstimator(tmp_path / "speed.json")
    estimator.add(*run(*first))
    for other in MEASURED:
        asked, _, seconds = run(*other)
        assert estimator.estimate(asked) == pytest.approx(seconds, rel=0.3)


def test_what_was_read_before_is_not_counted_and_teaches_nothing_of_reading(tmp_path):
    estimator = TimeEstimator(tmp_path / "speed.json")
    timings = {"track": 4.0, "fit": 6.0, "render": 10.0}
    estimator.add(work(100), timings, 20.0)
    assert estimator.estimate(work(0, 100)) == pytest.approx(10.0)
    for _ in range(5):
        estimator.add(work(0, 100), {"track": 0.0, "fit": 0.0, "render": 10.0}, 10.0)
    assert estimator.estimate(work(100)) == pytest.approx(20.0)


def test_runs_of_frames_alike_in_size_are_asked_first(tmp_path):
    estimator = TimeEstimator(tmp_path / "speed.json")
    for pixels, seconds in ((100_000, 10.0), (900_000, 40.0)):
        for _ in range(4):
            estimator.add(work(100, pixels=pixels), {"track": seconds / 2, "render": seconds / 2}, seconds)
    assert estimator.estimate(work(100, pixels=100_000)) == pytest.approx(10.0)
    assert estimator.estimate(work(100, pixels=900_000)) == pytest.approx(40.0)
    assert 10.0 < estimator.estimate(work(100, pixels=120_000)) < 10.2  # a little is added for what is larger
    assert 36.0 < estimator.estimate(work(100, pixels=700_000)) < 40.0


def test_one_run_of_the_same_size_says_more_than_several_of_another(tmp_path):
    estimator = TimeEstimator(tmp_path / "speed.json")
    for pixels, seconds, fixed in ((900_000, 40.0, 5.0), (900_000, 42.0, 5.0), (100_000, 10.0, 3.0)):
        estimator.add(work(100, pixels=pixels), {"track": seconds / 2, "render": seconds / 2}, seconds + fixed)
    assert estimator.estimate(work(50, pixels=120_000)) == pytest.approx(8.0, rel=0.02)


def test_the_file_of_another_version_is_left_aside(tmp_path):
    (tmp_path / "speed.json").write_text("[0.08, 0.07]")
    assert not TimeEstimator(tmp_path / "speed.json").is_measured


def request(clip, speech=None, **options) -> Request:
    return Request(clip=clip, speech=speech, consent=False, options=DubbingOptions(**options))


def test_the_estimate_says_where_it_comes_from_and_what_differs_in_length(service, tmp_path):
    clip, speech = write_clip(tmp_path / "clip.mp4", 50), write_speech(tmp_path / "speech.wav", 6.0)
    text = service.estimate(request(clip), "visitor")
    assert "5 s** for 50 frames" in text and strings.ESTIMATE_BUILT_IN in text
    assert "The speech is 4.0 s longer" in service.estimate(request(clip, speech), "visitor")
    assert "for 150 frames" in service.estimate(request(clip, speech, length="audio"), "visitor")
    long = write_clip(tmp_path / "long.mp4", 200)
    assert "The clip is 2.0 s longer" in service.estimate(request(long, speech), "visitor")
    other = request(clip, style_video=write_clip(tmp_path / "style.mp4", 500))
    assert "20 s** for 50 frames" in service.estimate(other, "visitor")  # its face is followed and fitted
    service.time_estimator.add(work(50), {"render": 10.0}, 10.0)
    assert strings.ESTIMATE_MEASURED in service.estimate(request(clip), "visitor")


def test_the_first_run_after_installation_is_said_to_take_longer(service, tmp_path, monkeypatch):
    clip = request(write_clip(tmp_path / "clip.mp4", 50))
    for compiled in (False, True):
        monkeypatch.setattr("personatalk.webapp.service.are_compiled", lambda compiled=compiled: compiled)
        assert ("The first run after installation" in service.estimate(clip, "visitor")) is not compiled


def test_a_preview_starts_where_the_speech_is_first_heard():
    waveform = np.zeros(SAMPLE_RATE, np.float32)
    waveform[SAMPLE_RATE // 2 :] = 0.5
    assert first_sound(waveform) == pytest.approx(0.4, abs=1e-3)
    assert first_sound(waveform[SAMPLE_RATE // 2 :]) == 0


def test_sound_is_measured_even_where_the_file_does_not_say(tmp_path):
    speech = write_speech(tmp_path / "speech.wav", 3.0)
    recording = tmp_path / "recording.webm"  # as browsers record it
    with av.open(str(speech)) as source, av.open(str(recording), "w", options={"live": "1"}) as target:
        stream = target.add_stream("libopus", rate=48000)
        resampler = av.AudioResampler("s16", "mono", 48000, frame_size=960)
        for frame in source.decode(audio=0):
            for piece in resampler.resample(frame):
                target.mux(stream.encode(piece))
        target.mux(stream.encode())
    assert sound_seconds(recording, enough=10) == pytest.approx(3.0, abs=0.1)
    assert 1.0 < sound_seconds(recording, enough=1.0) < 1.1


@pytest.mark.parametrize(("seconds", "said"), [(4.26, "4.3 s"), (41.6, "42 s"), (120, "2 min"), (150, "2.5 min")])
def test_times_are_said_as_a_person_would(seconds, said):
    assert strings.spoken_time(seconds) == said


@pytest.mark.weights
@pytest.mark.slow
def test_what_a_pictures_preview_has_read_is_not_counted_again(pipeline, tmp_path):
    """The picture becomes a clip in each run's folder, which is the same one whenever the speech is."""
    counted = []

    class Noting(TimeEstimator):
        def estimate(self, work: Work) -> float:
            counted.append(work)
            return super().estimate(work)

    places = in_this_process(pipeline)
    service = DubbingService(*places, Sessions(tmp_path, 100), Limits(), Noting(tmp_path / "speed.json"))
    speech = cut_sound(ASSETS / "speech_bridge.wav", tmp_path / "speech.wav", 0.0, 2.2)
    asked = replace(request(ASSETS / "painted_portrait.jpg", speech), consent=True)
    first = service.preview(asked, "visitor", lambda *_: None)
    service.estimate(asked, "visitor")
    second = service.dub(asked, "visitor", lambda *_: None)
    assert [work.read for work in counted] == [56, 0, 0]  # before each run, and where the estimate is shown
    assert (first.work.read, second.work.read) == (56, 0)
    other = replace(asked, speech=write_speech(tmp_path / "other.wav", 3.0))
    service.estimate(other, "visitor")
    assert counted[-1].read == 76
