"""A decoded frame that is converted to RGB only where it is looked at, and written back with the rest as it was."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, TypeAlias

import av
import cv2
import numpy as np

from personatalk.media.colour import ColourConverter

Box: TypeAlias = tuple[int, int, int, int]  # px: left, top, right, bottom


class Picture:
    """A decoded frame, in place of an array [H, W, 3] uint8 RGB; NumPy's functions take it as one.

    A face fills a small part of most frames, and converting a whole one takes longer than decoding it.

    Args:
        frame: of a format that the converter converts itself.
        converter: of the video.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, frame: av.VideoFrame, converter: ColourConverter) -> None:
        self.frame, self.converter = frame, converter
        self.shape = (frame.height, frame.width, 3)

    @cached_property
    def _whole(self) -> np.ndarray:
        return self.converter.rgb(self.frame, self.frame.width, self.frame.height)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._whole, dtype, copy=copy)

    def part(self, box: Box) -> np.ndarray:
        """Return [h, w, 3] uint8, what lies in a box inside of the picture."""
        if "_whole" in vars(self):
            return part_of(self._whole, box)
        left, top, right, bottom = box
        even_left, even_top = left - left % 2, top - top % 2  # two by two pixels share a chroma sample
        even = even_left, even_top, right + right % 2, bottom + bottom % 2
        image = self.converter.rgb_part(self.frame, even)
        return np.ascontiguousarray(image[top - even_top : bottom - even_top, left - even_left : right - even_left])

    def shrunk(self, width: int, height: int) -> np.ndarray:
        """Return float32 [height, width, 3] in [0, 255], averaged over many pixels."""
        return self.converter.rgb_shrunk(self.frame, width, height)


class ChangedPicture:
    """A picture of which a part was replaced, in place of an array [H, W, 3] uint8 RGB.

    Args:
        below: the picture; another part of it may have been replaced before.
        left: px, of the part.
        top: px, of the part.
        changed: [h, w, 3] uint8, what the part becomes.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, below: Picture | ChangedPicture, left: int, top: int, changed: np.ndarray) -> None:
        self.below, self.left, self.top, self.changed = below, left, top, changed
        self.shape, self.converter = below.shape, below.converter

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(with_part(np.asarray(self.below), self.left, self.top, self.changed), dtype)

    def part(self, box: Box) -> np.ndarray:
        """Return [h, w, 3] uint8, what lies in a box inside of the picture."""
        left, top, right, bottom = box
        image = self.below.part(box)
        height, width = self.changed.shape[:2]
        x0, y0 = max(left, self.left), max(top, self.top)
        x1, y1 = min(right, self.left + width), min(bottom, self.top + height)
        if x0 < x1 and y0 < y1:
            own = self.changed[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
            image = image.copy()
            image[y0 - top : y1 - top, x0 - left : x1 - left] = own
        return image

    def yuv(self, converter: ColourConverter) -> av.VideoFrame:
        """Return the frame to encode: the samples of the picture, but for the part."""
        if not converter.is_like(self.converter):
            return converter.yuv(np.asarray(self))
        height, width = self.changed.shape[:2]
        left, top = self.left - self.left % 2, self.top - self.top % 2
        right, bottom = self.left + width, self.top + height
        box = left, top, right + right % 2, bottom + bottom % 2
        whole_blocks = with_part(self.below.part(box), self.left - left, self.top - top, self.changed)
        frame = self.below.frame if isinstance(self.below, Picture) else self.below.yuv(converter)
        return converter.yuv_over(frame, left, top, np.asarray(whole_blocks))


Pixels: TypeAlias = np.ndarray | Picture | ChangedPicture  # [H, W, 3] uint8 RGB


def part_of(image: Pixels, box: Box) -> np.ndarray:
    """Return [h, w, 3] uint8, what lies in a box inside of an image."""
    if isinstance(image, (Picture, ChangedPicture)):
        return image.part(box)
    left, top, right, bottom = box
    return np.ascontiguousarray(np.asarray(image)[top:bottom, left:right])


def shrunk(image: Pixels, width: int, height: int) -> np.ndarray:
    """Return float32 [height, width, 3] in [0, 255], an image averaged over many pixels, though not over all."""
    if isinstance(image, Picture):
        return image.shrunk(width, height)
    step = max(1, min(image.shape[0] // (2 * height), image.shape[1] // (2 * width)))
    small = cv2.resize(np.asarray(image)[::step, ::step], (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def with_part(image: Pixels, left: int, top: int, changed: np.ndarray) -> Pixels:
    """Return an image with a part of it replaced by [h, w, 3] uint8; the image itself stays as it is."""
    if isinstance(image, (Picture, ChangedPicture)):
        return ChangedPicture(image, left, top, changed)
    whole = np.array(image)
    whole[top : top + changed.shape[0], left : left + changed.shape[1]] = changed
    return whole


class Change(NamedTuple):
    """A part of an image that was replaced.

    Attributes:
        left: px.
        top: px.
        difference: [h, w, 3] uint8, the part as it became, exclusive-or as it was.
    """

    left: int
    top: int
    difference: np.ndarray


def changes_between(source: Pixels, image: Pixels) -> list[Change]:
    """The parts in which an image differs from its source, in the order in which they were replaced."""
    if image is source:
        return []
    if isinstance(image, ChangedPicture):
        height, width = image.changed.shape[:2]
        was = image.below.part((image.left, image.top, image.left + width, image.top + height))
        return [*changes_between(source, image.below), Change(image.left, image.top, was ^ image.changed)]
    difference = np.asarray(source) ^ np.asarray(image)
    rows, columns = (np.flatnonzero(difference.any(axis)) for axis in ((1, 2), (0, 2)))
    if not len(rows):
        return []
    part = difference[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return [Change(int(columns[0]), int(rows[0]), np.ascontiguousarray(part))]


def with_changes(source: Pixels, changes: Sequence[tuple[int, int, np.ndarray]]) -> Pixels:
    """Return the image that differs from its source by what `changes_between` gave."""
    for left, top, difference in changes:
        height, width = difference.shape[:2]
        was = part_of(source, (left, top, left + width, top + height))
        source = with_part(source, left, top, was ^ difference)
    return source


def to_yuv(image: Pixels, converter: ColourConverter) -> av.VideoFrame:
    """Return the frame to encode for an image."""
    return image.yuv(converter) if isinstance(image, ChangedPicture) else converter.yuv(np.asarray(image))
