"""The estimate before a run, and the cutting of previews."""

from __future__ import annotations

import av
import numpy as np
import pytest
from conftest import CopyPipeline, write_clip, write_speech

from personatalk.webapp import strings
from personatalk.webapp.jobs import in_this_process
from personatalk.webapp.limits import Limits, sound_seconds
from personatalk.webapp.preview import SAMPLE_RATE, first_sound
from personatalk.webapp.service import DubbingService
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.time_estimate import BUILT_IN_S, START_S, TimeEstimator


@pytest.fixture
def service(tmp_path):
    return DubbingService(
        *in_this_process(CopyPipeline()), Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json")
    )


def test_the_speed_is_learnt_from_runs_and_outlives_the_process(tmp_path):
    record = TimeEstimator(tmp_path / "speed.json")
    assert not record.is_measured and record.estimate(100) == START_S + 100 * BUILT_IN_S
    for seconds in (11, 21, 1000):  # one outlier
        record.add(100, START_S + seconds - 1)
    again = TimeEstimator(tmp_path / "speed.json")
    assert again.is_measured and again.estimate(50) == pytest.approx(START_S + 10)


def test_the_estimate_says_where_it_comes_from_and_what_differs_in_length(service, tmp_path):
    clip, speech = write_clip(tmp_path / "clip.mp4", 50), write_speech(tmp_path / "speech.wav", 6.0)
    text = service.estimate(clip, None, "video")
    assert "5 s** for 50 frames" in text and strings.ESTIMATE_BUILT_IN in text
    assert "The speech is 4.0 s longer" in service.estimate(clip, speech, "video")
    assert "for 150 frames" in service.estimate(clip, speech, "audio")
    assert "The clip is 2.0 s longer" in service.estimate(write_clip(tmp_path / "long.mp4", 200), speech, "video")
    helper = {write_clip(tmp_path / "style.mp4", 500): strings.STYLE_CLIP}
    assert "21 s** for 50 frames" in service.estimate(clip, None, "video", helper)  # its face is followed and fitted
    service.time_estimator.add(50, 10)
    assert strings.ESTIMATE_MEASURED in service.estimate(clip, None, "video")


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
