"""Excerpts of videos and sounds as files of their own."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from personatalk.errors import MediaError
from personatalk.media.decode import Frame, read_frames
from personatalk.media.encode import VideoWriter
from personatalk.media.sound import read_audio

SAMPLE_RATE = 44100  # Hz
MIX_RATE = 48000  # Hz
CRF = 10  # finer than a dub's, as the excerpt will be encoded again
ROUNDING_S = 1e-6


def cut_video(video: Path, path: Path, start_s: float, end_s: float, *, sound: Path | None = None) -> Path:
    """Write the frames of a video from start_s to before end_s, at their own distances in time.

    Args:
        video: to read.
        path: .mp4 to write.
        start_s: from the video's first frame.
        end_s: from the video's first frame.
        sound: file whose sound goes in, complete; without it the excerpt is silent.

    Raises:
        MediaError: no frame lies there.
    """
    first = None
    with VideoWriter(path, source=video, audio=sound, crf=CRF, is_whole=False) as writer:
        for frame in _between(video, start_s, end_s):
            first = frame.pts if first is None else first
            writer.write(frame.image, frame.pts - first)
        if first is None:
            raise MediaError(f"{video.name} has no frame between {start_s:.2f} and {end_s:.2f} s")
    return path


def _between(video: Path, start_s: float, end_s: float) -> Iterator[Frame]:
    for frame in read_frames(video):
        if frame.time >= end_s - ROUNDING_S:
            return
        if frame.time >= start_s - ROUNDING_S:
            yield frame


def cut_sound(sound: Path, path: Path, start_s: float, end_s: float) -> Path:
    """Write the sound of a file from start_s to end_s as WAV, all channels mixed; silence where it has ended.

    Args:
        sound: a sound file, or a video with sound.
        path: .wav to write.
        start_s: from the first sample.
        end_s: from the first sample.
    """
    start, end = (round(seconds * SAMPLE_RATE) for seconds in (start_s, end_s))
    heard = read_audio(sound, SAMPLE_RATE)[start:end]
    return write_wave(path, np.pad(heard, (0, end - start - len(heard))))


def mix_sounds(sounds: Sequence[Path], path: Path) -> Path:
    """Write the sum of several files' sound as WAV, as long as the longest, all channels mixed.

    Where the sum would go beyond full scale, all of it is made quieter.

    Args:
        sounds: sound files, or videos with sound.
        path: .wav to write.
    """
    heard = [read_audio(sound, MIX_RATE) for sound in sounds]
    mixed = np.zeros(max(map(len, heard)), np.float32)
    for waveform in heard:
        mixed[: len(waveform)] += waveform
    return write_wave(path, mixed / max(1.0, float(np.abs(mixed).max())), MIX_RATE)


def write_wave(path: Path, waveform: np.ndarray, sample_rate: int = SAMPLE_RATE) -> Path:
    """Write [S] floats in [-1, 1] as 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, sample_rate, 0, "NONE", ""))
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return path
