"""Before and after beside each other, as a short animation that plays anywhere: WebP or GIF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np

from personatalk.inspection.drawing import caption, tiles
from personatalk.media import read_frames

FORMATS = (".webp", ".gif")
SIDE_PIXELS = 320 * 240  # of each picture, whatever its shape
DEFAULT_FPS, MAX_S = 12.5, 12.0  # an animation of 150 frames is held in memory: some 70 MB
WEBP_QUALITY = 80
ROUNDING_S = 1e-4


def write_comparison(
    before: Path, after: Path, path: Path, *, names: tuple[str, str] = ("before", "dubbed"), fps: float = DEFAULT_FPS
) -> Path:
    """Write the first seconds of two videos side by side as an animation without sound.

    Args:
        before: the source video; where it ends first, its last frame stays.
        after: the dubbed video, which gives the length.
        path: .webp or .gif to write.
        names: written under the two.
        fps: pictures per second.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"{path.name}: an animation is written as one of {FORMATS}")
    frames = np.stack([tiles(pair, 2) for pair in _pairs(before, after, names, fps)])
    options: dict[str, Any] = {"quality": WEBP_QUALITY} if path.suffix == ".webp" else {}
    iio.imwrite(path, frames, duration=1000 / fps, loop=0, **options)
    return path


def _pairs(before: Path, after: Path, names: tuple[str, str], fps: float) -> Iterator[list[np.ndarray]]:
    """Captioned pictures of both videos at the same times."""
    sources = _sampled(before, fps)
    source = next(sources)
    for picture in _sampled(after, fps):
        yield [caption(side, name) for side, name in zip((source, picture), names, strict=True)]
        source = next(sources, source)


def _sampled(video: Path, fps: float) -> Iterator[np.ndarray]:
    """The small pictures shown at 0, 1 / fps ... s from the first frame."""
    shown, start, count = None, 0.0, 0
    for frame in read_frames(video):
        if shown is None:
            start = frame.time
        while shown is not None and count / fps < frame.time - start - ROUNDING_S:
            yield shown
            count += 1
            if count >= MAX_S * fps:
                return
        last_time, shown = frame.time - start, _small(frame.image)
    if shown is not None and count / fps < last_time + ROUNDING_S:
        yield shown


def _small(image: np.ndarray) -> np.ndarray:
    """Shrink a picture to SIDE_PIXELS; smaller ones stay as they are."""
    height, width = image.shape[:2]
    scale = min(1.0, (SIDE_PIXELS / (height * width)) ** 0.5)
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
