"""The judge hears whether a video's sound is that of its face."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import write_clip
from media_samples import ASSETS
from person_clips import rendered_head, speaker
from person_clips import write_clip as write_persons

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.landmark_fitting import fit_track
from personatalk.geometry.mouth import lip_aperture
from personatalk.media import VideoWriter, probe_video, read_frames
from personatalk.persons.search import find_persons
from personatalk.webapp.sync_judge import SyncJudge

SPEAKER = ASSETS / "grid_speaker.mp4"
pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def judge():
    return SyncJudge.load(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))


def test_own_sound_is_in_sync_and_another_speech_is_not(judge, tmp_path):
    own = judge(SPEAKER).synchrony
    assert own.in_sync and abs(own.offset_s) < 0.1
    foreign = tmp_path / "foreign.mp4"
    with VideoWriter(foreign, source=SPEAKER, audio=ASSETS / "speech_bridge.wav") as writer:
        for frame in read_frames(SPEAKER):
            writer.write(frame.image, frame.pts)
    assert not judge(foreign).synchrony.in_sync


def test_a_video_without_a_face_is_not_judged(judge, tmp_path):
    assert judge(write_clip(tmp_path / "grey.mp4", num_frames=30)) is None


def test_the_dubbed_person_is_judged_whoever_else_is_seen_and_comes_first(judge, tmp_path):
    """A shot of another person, then the speaker beside a larger face that does not speak what is heard."""
    shots = rendered_head(25) + [beside(*pair) for pair in zip(rendered_head(50), speaker(50, 25), strict=True)]
    clip = write_persons(tmp_path / "two.mp4", shots, sound=SPEAKER)  # his own sound, from his own first frame
    cast = find_persons(clip, judge.face_model)
    geometries = [fit_track(cast.track_of(person), judge.face_model) for person in cast.persons]
    speakers = min(geometries, key=lambda geometry: np.median(geometry.scale[geometry.valid]))
    others = max(geometries, key=lambda geometry: np.median(geometry.scale[geometry.valid]))
    assert speakers.valid[:25].sum() == 0 and others.valid[:25].all()
    for own, other in ((speakers, others), (others, speakers)):
        judged = judge(clip, own)
        mouths = [mouth_at(judge, geometry, judged.times) for geometry in (own, other)]
        mine, theirs = (np.nanmean(np.abs(judged.aperture - mouth)) for mouth in mouths)
        assert mine < 0.01 and mine < 0.3 * theirs
    assert judge(clip, speakers).times[0] >= 0.9


def test_frames_that_were_left_as_they_were_do_not_count(judge):
    face = find_persons(SPEAKER, judge.face_model)
    geometry = fit_track(face.track_of(face.choose()), judge.face_model)
    half = replace(geometry, valid=geometry.valid & (np.arange(len(geometry)) >= 30))
    judged = judge(SPEAKER, half)
    assert judged.times[0] == pytest.approx(30 / float(probe_video(SPEAKER).fps), abs=0.01)
    assert judge(SPEAKER, replace(geometry, valid=geometry.valid & False)) is None


def mouth_at(judge, geometry, times: np.ndarray) -> np.ndarray:
    """Lip aperture of a face at some times, IOD; NaN where it is not seen."""
    aperture = lip_aperture(judge.face_model.vertices(geometry.template, geometry.expression))
    return np.where(geometry.valid, aperture, np.nan)[np.searchsorted(geometry.times, times - 1e-3)]


def beside(head: np.ndarray, man: np.ndarray) -> np.ndarray:
    """One picture of two persons, the first one's face the larger."""
    large = cv2.resize(head, None, fx=1.5, fy=1.5)
    return np.concatenate([large, np.pad(man, ((0, large.shape[0] - man.shape[0]), (0, 0), (0, 0)))], 1)
