"""The judge hears whether a video's sound is that of its face."""

from __future__ import annotations

import pytest
from conftest import write_clip
from media_samples import ASSETS

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.geometry.face_model import FaceModel
from personatalk.media import VideoWriter, read_frames
from personatalk.webapp.sync_judge import SyncJudge

SPEAKER = ASSETS / "grid_speaker.mp4"
pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def judge():
    return SyncJudge.load(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))


def test_own_sound_is_in_sync_and_another_speech_is_not(judge, tmp_path):
    own = judge(SPEAKER)
    assert own.in_sync and abs(own.offset_s) < 0.1
    foreign = tmp_path / "foreign.mp4"
    with VideoWriter(foreign, source=SPEAKER, audio=ASSETS / "speech_bridge.wav") as writer:
        for frame in read_frames(SPEAKER):
            writer.write(frame.image, frame.pts)
    assert not judge(foreign).in_sync


def test_a_video_without_a_face_is_not_judged(judge, tmp_path):
    assert judge(write_clip(tmp_path / "grey.mp4", num_frames=30)) is None
