"""Clicks in the sound and flashes in the picture of an output come at the same time, at every rate and length."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_samples import write_sound, write_video

from personatalk.media import VideoWriter, read_frames
from personatalk.media.timeline import plan_timeline, read_in_order

RATE = 48000
TOLERANCE_S = 0.010
SOURCE_S, SPEECH_S = 1.2, 2.0
FLASH_EVERY_S = 0.37
RATES = ["24000/1001", "25", "30000/1001", "30", "50", "60000/1001", "12", "variable"]
SOUNDS = {"a.wav": "pcm_s16le", "a.mp3": "libmp3lame", "a.m4a": "aac", "a.flac": "flac", "a.ogg": "libopus"}


def source_of(path: Path, rate: str) -> Path:
    """A grey film of a rate; "variable" is of frames of 15 to 90 ms."""
    grey = np.full((32, 32, 3), 40, np.uint8)
    if rate == "variable":
        ticks = np.cumsum([0, *np.random.default_rng(0).integers(15, 90, 26)]).tolist()
        return write_video(path, [grey] * len(ticks), ticks=ticks, time_base=Fraction(1, 1000), group=6)
    return write_video(path, [grey] * round(SOURCE_S * Fraction(rate)), fps=Fraction(rate), group=12)


def click_and_flash(source: Path, sound: Path, output: Path, length: str, codec: str) -> np.ndarray:
    """Write flashes at some frames, and clicks at those frames' times in the speech; returns the times, s."""
    frames = list(read_frames(source))
    times, pts = np.array([frame.time for frame in frames]), np.array([frame.pts for frame in frames])
    plan = plan_timeline(times, pts, SPEECH_S, length)
    shown = plan.times - plan.times[0]
    flashes = np.unique(np.searchsorted(shown, np.arange(0.2, shown[-1] - 0.1, FLASH_EVERY_S)))
    click = np.sin(np.arange(-96, 97) / 96 * 8 * np.pi) * np.hanning(193)  # 4 ms around its middle
    waveform = np.zeros(round(SPEECH_S * RATE), np.float32)
    for time in shown[flashes]:
        middle = round(time * RATE)
        waveform[middle - 96 : middle + 97] += 0.9 * click
    write_sound(sound, waveform, RATE, codec=codec)
    with VideoWriter(output, source, audio=sound, end_pts=plan.end_pts) as writer:
        for position, image in enumerate(read_in_order(source, plan)):
            writer.write(np.full_like(image, 230) if position in flashes else image, int(plan.pts[position]))
    return shown[flashes]


def seen_and_heard(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times of the flashes and of the clicks, s, as the file's own timestamps have them."""
    with av.open(str(path)) as container:
        flashes = [frame.time for frame in container.decode(video=0) if frame.to_ndarray(format="gray").mean() > 150]
    with av.open(str(path)) as container:
        pieces = [(frame.time, frame.to_ndarray().mean(0)) for frame in container.decode(audio=0)]
    loudness = np.concatenate([np.abs(samples) for _, samples in pieces])
    when = np.concatenate([time + np.arange(len(samples)) / RATE for time, samples in pieces])
    loudness = np.convolve(loudness, np.hanning(193) / 96, "same")
    clicks = []
    while (peak := int(loudness.argmax())) >= 0 and loudness[peak] > 0.1:
        clicks.append(when[peak])
        loudness[max(0, peak - RATE // 10) : peak + RATE // 10] = 0
    return np.array(flashes), np.sort(clicks)


@pytest.mark.parametrize("length", ["video", "audio", "loop", "hold"])
@pytest.mark.parametrize("rate", RATES)
def test_clicks_and_flashes_meet_at_every_rate_and_length(tmp_path, rate, length):
    source = source_of(tmp_path / "in.mp4", rate)
    meant = click_and_flash(source, tmp_path / "a.wav", tmp_path / "out.mp4", length, "pcm_s16le")
    flashes, clicks = seen_and_heard(tmp_path / "out.mp4")
    assert len(flashes) == len(clicks) == len(meant) >= 3
    assert np.abs(flashes - clicks).max() < TOLERANCE_S
    assert np.abs(flashes - meant).max() < TOLERANCE_S


@pytest.mark.parametrize("name", SOUNDS)
def test_clicks_and_flashes_meet_whatever_the_sound_is(tmp_path, name):
    source = source_of(tmp_path / "in.mp4", "30000/1001")
    click_and_flash(source, tmp_path / name, tmp_path / "out.mp4", "audio", SOUNDS[name])
    flashes, clicks = seen_and_heard(tmp_path / "out.mp4")
    assert len(flashes) == len(clicks) and np.abs(flashes - clicks).max() < TOLERANCE_S
