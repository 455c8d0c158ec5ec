"""A preview shows two seconds of what a dub would show."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_clip, write_speech
from media_samples import ASSETS
from person_clips import rendered_head, speaker
from person_clips import write_clip as write_persons

from personatalk import pipeline as pipeline_module
from personatalk.media import probe_video, read_audio, read_frames
from personatalk.media.excerpt import SAMPLE_RATE, write_wave
from personatalk.options import DubbingOptions
from personatalk.persons.search import find_persons
from personatalk.webapp import preview as preview_module
from personatalk.webapp.jobs import in_this_process
from personatalk.webapp.limits import Limits
from personatalk.webapp.preview import EXCERPT_VIDEO, PREVIEW_S, SOURCE_S, Job, first_sound, preview_of
from personatalk.webapp.service import DubbingService, Request
from personatalk.webapp.sessions import Sessions
from personatalk.webapp.time_estimate import TimeEstimator

CLIP, SPEECH = ASSETS / "grid_speaker.mp4", ASSETS / "speech_bridge.wav"
FPS = 25


@pytest.mark.weights
@pytest.mark.slow
def test_a_preview_is_a_stretch_of_the_dub_even_where_the_clip_is_its_own_reference_clip(
    pipeline, tmp_path, monkeypatch
):
    readings = []
    read = pipeline.read_all_faces
    monkeypatch.setattr(pipeline, "read_all_faces", lambda *given: readings.append(given) or read(*given))
    service = DubbingService(
        *in_this_process(pipeline), Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json")
    )
    copy = shutil.copy(CLIP, tmp_path / "uploaded again.mp4")  # as a visitor's second upload is
    speech = write_wave(tmp_path / "late.wav", np.pad(read_audio(SPEECH, SAMPLE_RATE), (SAMPLE_RATE // 2, 0)))
    options = DubbingOptions(reference_video=copy, crf=0)  # lossless
    request = Request(clip=CLIP, speech=speech, consent=True, options=options)
    preview, dub = service.preview(request, "me", None), service.dub(request, "somebody else", None)
    reports = [json.loads(outcome.report.read_text()) for outcome in (preview, dub)]
    for name in ("lip_references", "face_references", "speaker_calibration"):
        assert reports[0][name] == reports[1][name]
    start, num_frames = math.ceil(FPS * first_sound(read_audio(speech))), 2 * FPS
    assert start >= 10
    shown, dubbed, before, source = (images_of(path) for path in (preview.video, dub.video, preview.before, CLIP))
    assert len(shown) == len(before) == num_frames
    stretch = slice(start, start + num_frames)
    differences = np.abs(shown - dubbed[stretch])
    assert differences.max() <= 4 and differences.mean() < 1e-3  # levels; a few pixels differ by 3
    errors = [np.abs(before - source[first:][:num_frames]).mean() for first in range(start - 2, start + 3)]
    assert np.argmin(errors) == 2 and errors[2] < 2  # levels; the excerpt is compressed
    heard, spoken = (read_audio(path, SAMPLE_RATE) for path in (preview.video, dub.video))
    spoken = spoken[start * SAMPLE_RATE // FPS :][: len(heard)]
    assert np.corrcoef(heard[: len(spoken)], spoken)[0, 1] > 0.98
    assert len(readings) == 2
    again = service.dub(request, "me", None)  # the preview has read the face already
    assert len(readings) == 2 and np.array_equal(images_of(again.video), dubbed)


@pytest.mark.weights
@pytest.mark.slow
def test_of_a_person_chosen_by_number_only_the_beginning_is_read_and_nobody_is_tracked_again(
    pipeline, tmp_path, monkeypatch
):
    monkeypatch.setattr(preview_module, "SOURCE_S", 2.4)
    pairs = [np.concatenate(pair, 1) for pair in zip(speaker(75), rendered_head(75), strict=True)]
    clip, options = write_persons(tmp_path / "two.mp4", pairs), DubbingOptions(face=1, crf=0)
    service = DubbingService(
        *in_this_process(pipeline), Sessions(tmp_path, 100), Limits(), TimeEstimator(tmp_path / "speed.json")
    )
    assert service.find_persons(clip, None, "me", None).usable == [0, 1]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline_module, "find_persons", None)
        preview = service.preview(Request(clip=clip, speech=SPEECH, consent=True, options=options), "me", None)
    excerpt = preview.folder / EXCERPT_VIDEO
    assert probe_video(excerpt).num_frames == 60
    report = json.loads(preview.report.read_text())
    assert [person["left_alone_because"] for person in report["persons"]] == ["another person was chosen", None]
    start = first_sound(read_audio(SPEECH, SAMPLE_RATE))
    stretch = (min(start, 0.4), min(start, 0.4) + PREVIEW_S)
    beginning = find_persons(clip, pipeline.face_model, between=(0.0, preview_module.SOURCE_S))  # tracked for itself
    monkeypatch.setattr(pipeline, "find_cast", lambda *_: beginning)
    dub = pipeline.dub(excerpt, SPEECH, tmp_path / "dub.mp4", options, stretch=stretch)
    differences = np.abs(images_of(preview.video) - images_of(dub.video))
    assert np.abs(images_of(preview.video) - images_of(preview.before)).max() > 30  # somebody was dubbed
    assert differences.max() <= 4 and differences.mean() < 1e-3


def test_the_preview_of_a_long_clip_uses_its_beginning_for_all_that_the_clip_gives(tmp_path):
    clip, speech = write_clip(tmp_path / "long.mp4", 300), write_speech(tmp_path / "speech.wav", 12.0)
    copy, other = shutil.copy(clip, tmp_path / "copy.mp4"), write_clip(tmp_path / "other.mp4", 40)
    options = DubbingOptions(reference_video=copy, style_video=other, length="loop")
    (tmp_path / "run").mkdir()
    job = preview_of(Job(clip=clip, speech=speech, options=options), tmp_path / "run")
    assert probe_video(job.clip).num_frames == SOURCE_S * FPS and job.stretch == (0.0, PREVIEW_S)
    assert job.options.reference_video is None and job.options.style_video == other  # None: the clip that is dubbed


def test_the_preview_of_a_short_clip_uses_the_clip_itself(tmp_path):
    clip, speech = write_clip(tmp_path / "clip.mp4", 70), write_speech(tmp_path / "speech.wav", 6.0, silence=3.0)
    job = preview_of(Job(clip=clip, speech=speech, options=DubbingOptions(style_video=clip)), tmp_path)
    assert (job.clip, job.options.style_video) == (clip, clip)
    assert job.stretch == pytest.approx((0.8, 2.8))  # the last two seconds, although the speech begins later


def images_of(path: Path) -> np.ndarray:
    """[T, H, W, 3] levels."""
    return np.stack([frame.image for frame in read_frames(path)]).astype(np.float32)
