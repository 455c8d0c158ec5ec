"""Still images as clips: a picture that stands for as long as the speech lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image, ImageOps, UnidentifiedImageError

from personatalk.errors import MediaError
from personatalk.media.colour import ColourConverter, ColourTags, pixel_format
from personatalk.media.decode import VideoInfo, probe_video, read_frames
from personatalk.media.targets import cannot_write

STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
RATE = 25  # frames a second
MIN_S = 2.0  # so that the picture can serve as its own reference
CRF = 8  # finer than a dub's, as the clip will be encoded again
MAX_PIXELS = 4096 * 4096


def is_still(path: Path) -> bool:
    """Whether a file is a still image, by its name."""
    return Path(path).suffix.lower() in STILL_SUFFIXES


@contextmanager
def still_clip(image: Path, seconds: float) -> Iterator[Path]:
    """A clip of a still image, at 25 frames a second, removed afterwards.

    Args:
        image: a still image; transparent parts become white, an orientation tag is followed.
        seconds: that it stands, at least 2.

    Raises:
        MediaError: it cannot be read, or is too large.
    """
    with TemporaryDirectory(prefix="personatalk-") as folder:
        yield write_still_clip(image, Path(folder) / f"{Path(image).stem or 'still'}.mp4", seconds)


def write_still_clip(image: Path, path: Path, seconds: float) -> Path:
    """Write the clip that `still_clip` gives, to a path that is returned.

    Raises:
        MediaError: the image cannot be read, or is too large, or the clip cannot be written.
    """
    picture = read_still(image)
    try:
        _write(picture, path, _num_frames(seconds))
    except (OSError, FFmpegError) as error:
        raise cannot_write(path, error) from error
    return path


def probe_clip(path: Path, seconds: float = MIN_S) -> VideoInfo:
    """Read the properties of a video, or those of the clip that a still image becomes for so many seconds of speech.

    Raises:
        MediaError: it cannot be read, or is too large.
    """
    if not is_still(path):
        return probe_video(path)
    height, width = read_still(path).shape[:2]
    count = _num_frames(seconds)
    return VideoInfo(
        width=width,
        height=height,
        fps=Fraction(RATE),
        num_frames=count,
        duration=count / RATE,
        has_audio=False,
        rotation=0,
        orientation=(1, 0, 0, 1),
        time_base=Fraction(1, RATE),
        sample_aspect_ratio=Fraction(1),
        colour=ColourTags(),
        start_pts=0,
        bit_depth=8,
        mastering=None,
    )


def first_frame(path: Path) -> np.ndarray:
    """Read the first frame of a video, or a still image: [H, W, 3] uint8, upright.

    Raises:
        MediaError: it cannot be read, or is too large.
    """
    return read_still(path) if is_still(path) else next(iter(read_frames(path))).image


def read_still(path: Path) -> np.ndarray:
    """Read a still image: [H, W, 3] uint8, upright.

    Raises:
        MediaError: it cannot be read, or is too large.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"There is no file {path}; check its name and folder.")
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise MediaError(f"{path.name} is larger than 4096 x 4096 pixels; give a smaller picture.")
            image = ImageOps.exif_transpose(opened).convert("RGBA")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path.name} is broken, or no image at all; export or download it again.") from error
    white = Image.new("RGBA", image.size, "white")
    return np.array(Image.alpha_composite(white, image).convert("RGB"))


def _num_frames(seconds: float) -> int:
    """Frames of the clip for so many seconds of speech; one more, so that it does not end before the speech."""
    return round(max(seconds, MIN_S) * RATE) + 1


def _write(picture: np.ndarray, path: Path, count: int) -> None:
    """Write a picture [H, W, 3] uint8 `count` times as H.264."""
    height, width = picture.shape[:2]
    converter = ColourConverter(ColourTags(), height)
    with av.open(f"file:{path}", "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.height, stream.width = height, width
        stream.pix_fmt = pixel_format(width, height)
        stream.options = {"crf": str(CRF), "preset": "veryfast"}
        stream.time_base = Fraction(1, RATE)
        for index in range(count):
            frame = converter.yuv(picture)
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
