"""Before and after beside each other: as a video with sound, or as a short animation, WebP or GIF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import imageio.v3 as iio
import numpy as np

from personatalk.inspection.drawing import caption, tiles
from personatalk.media import AI_MODIFIED, Frame, probe_video, read_frames
from personatalk.media.container import open_media
from personatalk.media.sound import add_sound

FORMATS = (".webp", ".gif")
SIDE_PIXELS = 320 * 240  # of each picture, whatever its shape
DEFAULT_FPS, MAX_S = 12.5, 12.0  # an animation of 150 frames is held in memory: some 70 MB
WEBP_QUALITY, SIDE_CRF = 80, 18
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


def write_side_by_side(before: Path, after: Path, path: Path, *, names: tuple[str, str] = ("before", "dubbed")) -> Path:
    """Write two videos side by side as MP4, at the dubbed one's frame times and with its sound.

    Args:
        before: the source video; where it ends first, its last frame stays.
        after: the dubbed video.
        path: to write, whatever its suffix.
        names: written under the two.
    """
    info = probe_video(after)
    with open_media(after) as heard, av.open(f"file:{path}", "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=info.fps, options={"crf": str(SIDE_CRF), "preset": "veryfast"})
        stream.time_base = stream.codec_context.time_base = info.time_base
        packets = add_sound(output, heard, after) if info.has_audio else ()
        output.metadata["comment"] = AI_MODIFIED
        for source, frame in _at_the_same_times(before, after):
            pair = [caption(image, name) for image, name in zip((source, frame.image), names, strict=True)]
            sheet = tiles(pair, 2)
            sheet = sheet[: sheet.shape[0] // 2 * 2, : sheet.shape[1] // 2 * 2]  # the codec takes even sizes
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(sheet), format="rgb24")
            picture.pts, picture.time_base = frame.pts, info.time_base
            if not stream.codec_context.is_open:
                stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
        for packet in packets:
            output.mux(packet)
    return path


def _at_the_same_times(before: Path, after: Path) -> Iterator[tuple[np.ndarray, Frame]]:
    """Each frame of the dubbed video, and what the source shows at that time."""
    sources = read_frames(before)
    shown = coming = next(sources)
    start, first = shown.time, None
    for frame in read_frames(after):
        first = frame.time if first is None else first
        while coming is not None and coming.time - start <= frame.time - first + ROUNDING_S:
            shown, coming = coming, next(sources, None)
        yield shown.image, frame


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
