"""Drawn pictures as a film that browsers play."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CRF, PRESET = 20, "veryfast"


def write_film(path: Path, pictures: Iterable[np.ndarray], fps: float) -> Path:
    """Write pictures [H, W, 3] uint8, all of one size, as H.264 in MP4 without sound, whatever the path's suffix."""
    with av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}) as output:
        stream = output.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(CRF), "preset": PRESET}
        for picture in pictures:
            even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]  # as the codec needs it
            if not stream.codec_context.is_open:
                stream.height, stream.width = even.shape[:2]
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
        output.mux(stream.encode())
    return path
