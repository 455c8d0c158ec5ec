"""Excerpts: the frames and the sound of a stretch, at their own times."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from media_samples import picture, write_video

from personatalk.errors import MediaError
from personatalk.media import probe_video, read_audio, read_frames
from personatalk.media.excerpt import cut_sound, cut_video, write_wave


def test_a_video_excerpt_holds_the_frames_of_its_stretch_at_their_distances(tmp_path):
    ticks = [0, 1, 2, 4, 5, 6, 9, 10, 11, 12]
    images = [picture(64, 96, 20 * index) for index in range(10)]
    video = write_video(tmp_path / "video.mp4", images, ticks=ticks, time_base=Fraction(1, 20))
    cut = list(read_frames(cut_video(video, tmp_path / "cut.mp4", 0.2, 0.5)))
    assert [round(20 * frame.time) for frame in cut] == [0, 1, 2, 5]
    for frame, image in zip(cut, images[3:7], strict=True):
        assert np.abs(frame.image.astype(float) - image).mean() < 3
    info = probe_video(tmp_path / "cut.mp4")
    assert not info.has_audio and info.start_pts == 0
    with pytest.raises(MediaError, match="no frame between"):
        cut_video(video, tmp_path / "late.mp4", 5.0, 6.0)
    assert not (tmp_path / "late.mp4").exists()


def test_a_sound_excerpt_holds_the_samples_of_its_stretch_and_silence_after_the_end(tmp_path):
    waveform = np.sin(np.arange(16000) / 20).astype(np.float32) * 0.5
    sound = write_wave(tmp_path / "sound.wav", waveform, 16000)
    cut = read_audio(cut_sound(sound, tmp_path / "cut.wav", 0.25, 1.5), 16000)
    assert len(cut) == pytest.approx(20000, abs=1)
    np.testing.assert_allclose(cut[100:11900], waveform[4100:15900], atol=0.02)
    assert np.abs(cut[12100:]).max() < 0.01
