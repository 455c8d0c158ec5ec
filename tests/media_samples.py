"""Tiny videos and sounds for tests, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler

from personatalk.media import read_frames
from personatalk.media.colour import SWS_FLAGS

ASSETS = Path(__file__).parents[1] / "assets"
CLEAR_QUALITY = {"crf": "1"}
CLEAR_BIT_RATE = 8_000_000


def picture(height: int, width: int, index: int = 0) -> np.ndarray:
    """A smooth picture that moves with the index and looks different after any turn or flip: uint8 [H, W, 3]."""
    y, x = np.mgrid[:height, :width] / 40.0
    channels = (
        127 + 90 * np.sin(x + index * 0.1) * np.cos(y),
        127 + 80 * np.cos(x * 1.3 - y + index * 0.05),
        127 + 90 * np.sin(y * 0.7 + 1),
    )
    return np.stack(channels, -1).astype(np.uint8)


def write_video(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    fps: Fraction = Fraction(25),
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    matrix: int = 2,
    colour_range: int = 0,
    group: int = 250,
    in_order: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode pictures near-losslessly.

    `ticks` of `time_base` give a variable rate, `rotation` is counter-clockwise;
    a key frame comes every `group` frames. `in_order` decodes frames as they are shown: otherwise MP4, which adds up
    durations in decoding order, may end before the last frame of a variable rate.
    """
    height, width = images[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base or 1 / fps
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, colour_range
        if codec == "libx264":
            stream.options = {**CLEAR_QUALITY, "g": str(group)} | ({"bf": "0"} if in_order else {})
        else:
            stream.bit_rate = CLEAR_BIT_RATE
            stream.gop_size = group
        if rotation:
            stream.set_display_rotation(rotation)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
                format=pix_fmt,
                dst_colorspace=5 if matrix == 2 else matrix,
                dst_color_range=colour_range or 1,
                interpolation=SWS_FLAGS,
            )
            frame.colorspace, frame.color_range = matrix, colour_range
            frame.pts, frame.time_base = (ticks[index] if ticks else index), time_base or 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_two_faces(path: Path, num_frames: int = 1) -> tuple[Path, int, int, int]:
    """A film of two heads side by side, the right one half as large; returns it, the seam between the two, its size."""
    heads = [next(iter(read_frames(ASSETS / name))).image for name in ("grid_speaker.mp4", "rendered_head.mp4")]
    height = min(head.shape[0] for head in heads) // 4 * 4
    left = heads[0][:height]
    right = np.zeros_like(heads[1][:height])
    half = heads[1][:height:2, ::2]
    right[: half.shape[0], : half.shape[1]] = half
    image = np.concatenate([left, right], 1)
    image = np.ascontiguousarray(image[:, : image.shape[1] // 2 * 2])
    return write_video(path, [image] * num_frames), left.shape[1], image.shape[1], height


def voice(seconds: float, rate: int) -> np.ndarray:
    """A tone that rises after a short silence, so that any shift in time shows: float32 [S] in [-1, 1]."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 + 300 * time) * time) * (time > 0.1)).astype(np.float32)


def write_sound(path: Path, waveform: np.ndarray, rate: int, *, codec: str, layout: str = "mono", **kwargs) -> Path:
    """Encode a waveform [S], the same in every channel; `kwargs` go to `av.open`."""
    with av.open(str(path), "w", **kwargs) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        channels = np.tile(waveform, (stream.layout.nb_channels, 1))
        frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        resampler = AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for piece in resampler.resample(frame) + resampler.resample(None):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures, dB."""
    error = np.square(first.astype(np.float64) - second).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-10)))
