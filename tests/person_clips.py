"""Clips of two persons for tests, made of the two that ship: a speaker of the GRID corpus and a rendered head."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from media_samples import ASSETS

from personatalk.media import read_audio, read_frames

WIDTH, HEIGHT, FPS = 320, 240, 25
SAMPLE_RATE = 16000


def speaker(count: int, start: int = 0) -> list[np.ndarray]:
    """The speaker of GRID in the middle of a grey picture: uint8 [240, 320, 3] each."""
    frames = []
    for frame in islice(read_frames(ASSETS / "grid_speaker.mp4"), start, start + count):
        image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        image[:, 64:256] = frame.image
        frames.append(image)
    return frames


def rendered_head(count: int, start: int = 0) -> list[np.ndarray]:
    """The rendered head: uint8 [240, 320, 3] each."""
    frames = islice(read_frames(ASSETS / "rendered_head.mp4"), start, start + count)
    return [cv2.resize(frame.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in frames]


def dissolve(before: list[np.ndarray], after: list[np.ndarray]) -> list[np.ndarray]:
    """Mix two stretches of as many frames, from the first to the second."""
    shares = np.linspace(0, 1, len(before) + 2)[1:-1]
    return [cv2.addWeighted(a, 1 - s, b, s, 0) for a, b, s in zip(before, after, shares, strict=True)]


def write_clip(path: Path, frames: list[np.ndarray], sound: Path | None = None) -> Path:
    """Write frames nearly without loss, with as much of a file's sound as there is picture."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "4", "preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if sound else None
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(video.encode())
        if audio and sound:
            waveform = read_audio(sound, SAMPLE_RATE)[None, : SAMPLE_RATE * len(frames) // FPS]
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform, np.float32), format="fltp", layout="mono")
            piece.sample_rate, piece.pts = SAMPLE_RATE, 0
            container.mux(audio.encode(piece))
            container.mux(audio.encode())
    return path


def images_of(path: Path) -> np.ndarray:
    """[T, H, W, 3] uint8."""
    return np.stack([frame.image for frame in read_frames(path)])
