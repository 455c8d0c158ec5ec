"""Reading of video: its properties, and its frames one by one, upright, each with its own timestamp."""

# PyAV declares timestamps and time bases as optional; packets that were demuxed or encoded have them
# pyright: reportOptionalOperand=false, reportOperatorIssue=false, reportArgumentType=false

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition

from personatalk.errors import MediaError
from personatalk.media.colour import FULL_RANGE, ColourConverter, ColourTags
from personatalk.media.container import decoded, open_media
from personatalk.media.hdr import MasteringMetadata, mastering_metadata
from personatalk.media.picture import Picture, Pixels

DEFAULT_FPS = Fraction(25)
INDEXED_FORMATS = ("mov,mp4", "matroska", "avi")  # others have no index to seek by: they are read from the start
RATE_TOLERANCE = 0.02  # of a stated frame rate, against the timestamps
IMAGE_BRANDS = ("avif", "heic", "heix", "mif1")
CLOCKWISE_TURNS = {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Properties of a video file.

    Attributes:
        width: px, upright.
        height: px, upright.
        fps: frames per second, the average where the rate varies.
        num_frames: as many as the file says or has packets for; damage can make it fewer.
        duration: s, from the first frame's start to the last one's end.
        has_audio: whether there is an audio stream.
        rotation: degrees clockwise that turn decoded frames upright.
        orientation: (a, b, c, d), each -1, 0 or 1: a decoded frame's (x, y) is shown at (a x + c y, b x + d y).
        time_base: s per tick of `Frame.pts`.
        sample_aspect_ratio: width of a pixel over its height, upright.
        colour: colour tags of the source.
        start_pts: ticks, timestamp of the first frame in the file.
        bit_depth: bits per sample.
        mastering: of an HDR video, where the file states it.
    """

    width: int
    height: int
    fps: Fraction
    num_frames: int
    duration: float
    has_audio: bool
    rotation: int
    orientation: tuple[int, int, int, int]
    time_base: Fraction
    sample_aspect_ratio: Fraction
    colour: ColourTags
    start_pts: int
    bit_depth: int
    mastering: MasteringMetadata | None


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: counts from 0 at the first frame read.
        time: s since the video's first frame.
        pixels: uint8 [H, W, 3] RGB, upright; where it can be, converted only as it is looked at.
        pts: ticks since the video's first frame.
        time_base: s per tick.
    """

    index: int
    time: float
    pixels: Pixels
    pts: int
    time_base: Fraction

    @property
    def image(self) -> np.ndarray:
        """The whole of it: uint8 [H, W, 3] RGB, upright."""
        return np.asarray(self.pixels)


def probe_video(path: Path) -> VideoInfo:
    """Read a video file's properties, decoding its first frame only.

    Raises:
        MediaError: no such file, not a video, or broken; the message says which.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = video_stream(container, path)
        first = next(decoded(container, stream), None)
        if first is None:
            raise MediaError(f"{path.name} is broken: none of its frames can be decoded; export or download it again.")
        fps, num_frames, duration = _extent(stream, path)
        _refuse_image(container, num_frames, path)
        orientation = _orientation(first)
        turned = orientation[0] == 0
        aspect = stream.sample_aspect_ratio or Fraction(1)
        return VideoInfo(
            width=first.height if turned else first.width,
            height=first.width if turned else first.height,
            fps=fps,
            num_frames=num_frames,
            duration=duration,
            has_audio=bool(container.streams.audio),
            rotation=CLOCKWISE_TURNS[orientation[:2]],
            orientation=orientation,
            time_base=stream.time_base,
            sample_aspect_ratio=1 / aspect if turned else aspect,
            colour=_colour_tags(first),
            start_pts=first.pts or 0,
            bit_depth=max(component.bits for component in first.format.components),
            mastering=mastering_metadata(first),
        )


def read_frames(path: Path, start_time: float = 0.0, *, only: Collection[int] | None = None) -> Iterator[Frame]:
    """Stream a video's frames, keeping none in memory.

    Every call yields the same frames in the same order. A truncated file yields those that it has.

    Args:
        start_time: s since the first frame; earlier frames are left out, and `index` counts from the first yielded.
        only: the wanted frames' `index`; the others are decoded, but neither converted nor yielded.

    Raises:
        MediaError: as `probe_video`.
    """
    path = Path(path)
    info = probe_video(path)
    converter = ColourConverter(info.colour, info.height)
    numbers = itertools.count()
    last = max(only, default=-1) if only is not None else None
    with open_media(path) as container:
        stream = video_stream(container, path)
        if start_time > 0 and container.format.name.startswith(INDEXED_FORMATS):
            container.seek(info.start_pts + int(start_time / info.time_base), stream=stream)
        for picture, pts in _timed(decoded(container, stream), info):
            time = float(pts * info.time_base)
            if time < start_time:
                continue
            index = next(numbers)
            if last is not None and index > last:
                return
            if only is None or index in only:
                pixels = _upright_rgb(picture, info, converter)
                yield Frame(index=index, time=time, pixels=pixels, pts=pts, time_base=info.time_base)


def _timed(pictures: Iterator[av.VideoFrame], info: VideoInfo) -> Iterator[tuple[av.VideoFrame, int]]:
    """Yield each frame with its ticks since the first one; they are never missing and strictly increase."""
    step = max(1, round(1 / info.fps / info.time_base))
    last = None
    for picture in pictures:
        pts = (0 if last is None else last + step) if picture.pts is None else picture.pts - info.start_pts
        last = pts if last is None else max(pts, last + 1)  # some files repeat a timestamp; MP4 cannot
        yield picture, last


def video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """Return a file's first video stream that is not a cover picture.

    Raises:
        MediaError: there is none, or its codec is unknown.
    """
    attached = Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & attached:
            if stream.codec_context is None:
                raise MediaError(f"The video in {path.name} is of an unknown kind; export it as MP4.")
            stream.thread_type = "AUTO"
            return stream
    if container.streams.audio:
        raise MediaError(f"{path.name} holds sound but no video; give a video file.")
    raise MediaError(f"{path.name} has no video stream; give a video file.")


def _extent(stream: av.VideoStream, path: Path) -> tuple[Fraction, int, float]:
    """Return frames per second, number of frames and seconds, without decoding.

    MP4 states them. Where a file does not count its frames its rate cannot be trusted either:
    recordings made by browsers claim 1000 frames per second.
    """
    stated = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
    if stream.frames and stream.duration:
        return stated, stream.frames, float(stream.duration * stream.time_base)
    with open_media(path) as container:
        packets = container.demux(video_stream(container, path))
        ticks = [packet.pts for packet in packets if packet.size]
    known = [tick for tick in ticks if tick is not None] or [0]
    span = (max(known) - min(known)) * stream.time_base
    if not span:
        return stated, len(ticks), float(len(ticks) / stated)
    measured = (len(known) - 1) / span
    fps = stated if abs(stated / measured - 1) < RATE_TOLERANCE else measured.limit_denominator(1001)
    return fps, len(ticks), float(span + 1 / fps)


def _refuse_image(container: InputContainer, num_frames: int, path: Path) -> None:
    is_still = container.format.name == "gif" and num_frames == 1
    if is_still or container.metadata.get("major_brand") in IMAGE_BRANDS:
        raise MediaError(f"{path.name} is an image; give a video file.")


def _orientation(picture: av.VideoFrame) -> tuple[int, int, int, int]:
    """Return (a, b, c, d) of `VideoInfo`.

    To be asked of one frame only: its side data and the frame hold each other, and a stream of such
    frames piles up until Python looks for cycles.
    """
    side_data = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(side_data, "<i4")[:5].astype(np.int64)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def _upright_rgb(picture: av.VideoFrame, info: VideoInfo, converter: ColourConverter) -> Pixels:
    a, b, c, d = info.orientation
    is_upright = (a, b, c, d) == (1, 0, 0, 1) and (picture.width, picture.height) == (info.width, info.height)
    if is_upright and converter.is_direct(picture):
        return Picture(picture, converter)
    width, height = (info.width, info.height) if a else (info.height, info.width)
    image = converter.rgb(picture, width, height)  # a file may change its size midway; the first frame's counts
    upright = image[:: d or 1, :: a or 1] if a else image.transpose(1, 0, 2)[:: b or 1, :: c or 1]
    return np.ascontiguousarray(upright)


def _colour_tags(picture: av.VideoFrame) -> ColourTags:
    full = picture.format.name.startswith("yuvj")
    return ColourTags(
        matrix=int(picture.colorspace),
        range=FULL_RANGE if full else int(picture.color_range),
        primaries=int(picture.color_primaries),
        transfer=int(picture.color_trc),
    )
