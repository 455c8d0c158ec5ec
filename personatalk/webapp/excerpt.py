"""An excerpt of a clip and of a speech, for a preview."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from personatalk.media import VideoWriter, probe_video, read_audio, read_frames

SAMPLE_RATE = 44100  # Hz
EXCERPT_VIDEO, EXCERPT_SOUND = "excerpt.mp4", "excerpt.wav"
EXCERPT_CRF = 10
MIN_EXCERPT_FRAMES = 30  # more than a dub needs at the least, whatever the frame rate
LOUD_SHARE = 0.05  # of the loudest sample; louder than this, speech has begun
LEAD_S = 0.1  # kept before its beginning


def cut_excerpt(clip: Path, speech: Path, folder: Path, seconds: float) -> tuple[Path, Path]:
    """Write the start of a clip, and of a speech from where it is first heard.

    Returns:
        paths of the two files, in `folder`.
    """
    fps = float(probe_video(clip).fps)
    seconds = max(seconds, MIN_EXCERPT_FRAMES / fps)
    video, sound = folder / EXCERPT_VIDEO, folder / EXCERPT_SOUND
    with VideoWriter(video, source=clip, audio=None, crf=EXCERPT_CRF) as writer:
        for frame in read_frames(clip):
            if frame.time >= seconds:
                break
            writer.write(frame.image, frame.pts)
    waveform = read_audio(speech, SAMPLE_RATE)
    start = first_sound(waveform)
    write_wave(sound, waveform[start : start + int(seconds * SAMPLE_RATE)])
    return video, sound


def first_sound(waveform: np.ndarray) -> int:
    """Sample at which to start, so that a preview does not begin with silence; waveform is [S] at SAMPLE_RATE."""
    loud = np.abs(waveform) > LOUD_SHARE * np.abs(waveform).max()
    return max(0, int(loud.argmax()) - int(LEAD_S * SAMPLE_RATE))


def write_wave(path: Path, waveform: np.ndarray) -> None:
    """Write [S] floats in [-1, 1] at SAMPLE_RATE as 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
