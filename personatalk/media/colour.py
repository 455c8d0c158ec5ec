"""Conversion between RGB and YUV by a video's colour tags, such that unchanged frames survive the round trip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import av
import cv2
import numba
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from personatalk.kernels import kernel

HD_HEIGHT = 720  # from here on, untagged video is taken as BT.709
UNSPECIFIED = 2  # colour code of ISO/IEC 23091-2: "not stated"
FULL_RANGE = 2
PLANE, IMAGE, MATRIX = "uint8[:, ::1]", "uint8[:, :, ::1]", "float32[:, ::1]"  # as kernels take them
SWS_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
LUMA_WEIGHTS = {  # of red and blue
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.FCC: (0.3, 0.11),
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.SMPTE240M: (0.212, 0.087),
    Colorspace.BT2020: (0.2627, 0.0593),
}
# Without these flags libswscale darkens the picture by about one level in 255 when it reads.
SWS_FLAGS = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


@dataclass(frozen=True, kw_only=True)
class ColourTags:
    """Colour tags of a video; codes of ISO/IEC 23091-2, 2 = not stated.

    Attributes:
        matrix: RGB to YUV matrix.
        range: 1 limited (16..235), 2 full (0..255), 0 not stated, which means limited.
        primaries: chromaticities of red, green and blue.
        transfer: transfer characteristic.
    """

    matrix: int = UNSPECIFIED
    range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


def pixel_format(width: int, height: int, bit_depth: int = 8) -> str:
    """Return the format to encode: 4:2:0 halves both sides, so odd sizes need 4:4:4; 10 bits for all that has more."""
    return ("yuv444p" if width % 2 or height % 2 else "yuv420p") + ("10le" if bit_depth > 8 else "")


class ColourConverter:
    """Converts frames of one video between its YUV format and RGB.

    8-bit 4:2:0, the format of nearly all video, is converted by compiled loops: the chroma sample of each 2x2 block is
    replicated to its four pixels on reading and averaged over them on writing, so that an unchanged frame is written
    as it was read. All other formats go through libswscale.

    Ours: chroma is replicated and not interpolated, since interpolation cannot be inverted.

    Args:
        tags: the video's colour tags; an unstated matrix follows from the height.
        height: px, upright.
        bit_depth: of the video, bits per sample.
    """

    def __init__(self, tags: ColourTags, height: int, bit_depth: int = 8) -> None:
        self._bit_depth = bit_depth
        self._matrix = SWS_MATRICES.get(tags.matrix, Colorspace.ITU709 if height >= HD_HEIGHT else Colorspace.ITU601)
        self._range = ColorRange.JPEG if tags.range == FULL_RANGE else ColorRange.MPEG
        self._sws = VideoReformatter()
        self._to_rgb, self._to_yuv, self._black = _coefficients(self._matrix, self._range)

    def rgb(self, picture: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """Return uint8 [height, width, 3] for a decoded frame, scaled if its size differs."""
        if self.is_direct(picture) and (picture.width, picture.height) == (width, height):
            return self.rgb_part(picture, (0, 0, width, height))
        return self._sws.reformat(
            picture,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=self._matrix,
            src_color_range=self._range,
            interpolation=SWS_FLAGS,
        ).to_ndarray()

    def is_direct(self, picture: av.VideoFrame) -> bool:
        """Whether a decoded frame is converted by compiled loops, which can do a part of it."""
        is_planar = picture.format.name in ("yuv420p", "yuvj420p")
        return is_planar and pixel_format(picture.width, picture.height) == "yuv420p"

    def rgb_part(self, picture: av.VideoFrame, box: tuple[int, int, int, int]) -> np.ndarray:
        """Return uint8 [h, w, 3] for a part of a decoded frame that `is_direct`: left, top, right, bottom, all even."""
        left, top, right, bottom = box
        image = np.empty((bottom - top, right - left, 3), np.uint8)
        luma, blue, red = map(_rows, picture.planes)
        _rgb_from_yuv420(luma, blue, red, image, left, top, self._to_rgb, self._black)
        return image

    def rgb_shrunk(self, picture: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """Return float32 [height, width, 3] in [0, 255], a decoded frame that `is_direct` averaged over many pixels."""
        step = max(1, min(picture.height // (2 * height), picture.width // (2 * width)))
        small = np.empty((height, width, 3), np.float32)
        for channel, plane in enumerate(picture.planes):
            every = max(1, step // 2) if channel else step  # chroma is half as fine
            samples = _rows(plane)[: plane.height : every, : plane.width : every]
            small[..., channel] = cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)
        small -= np.array((self._black, 128, 128), np.float32)
        return np.clip(small @ self._to_rgb.T, 0, 255)

    def is_like(self, other: ColourConverter) -> bool:
        """Whether what another converter reads can be written by this one without converting it."""
        both_8_bits = self._bit_depth == other._bit_depth == 8
        return both_8_bits and (self._matrix, self._range) == (other._matrix, other._range)

    def yuv_over(self, picture: av.VideoFrame, left: int, top: int, image: np.ndarray) -> av.VideoFrame:
        """Return the frame to encode for a decoded one that `is_direct`, with a part replaced by uint8 [h, w, 3].

        All sizes are even.
        """
        whole, luma, blue, red = _planes(picture.width, picture.height)
        for written, read in zip((luma, blue, red), picture.planes, strict=True):
            written[:] = _rows(read)[: read.height, : read.width]
        _yuv420_from_rgb(np.ascontiguousarray(image), luma, blue, red, left, top, self._to_yuv, self._black)
        return av.VideoFrame.from_ndarray(whole, format="yuv420p")

    def yuv(self, image: np.ndarray) -> av.VideoFrame:
        """Return the frame to encode, in its `pixel_format`, for uint8 [H, W, 3]."""
        height, width = image.shape[:2]
        output_format = pixel_format(width, height, self._bit_depth)
        if output_format == "yuv420p":
            whole, luma, blue, red = _planes(width, height)
            _yuv420_from_rgb(np.ascontiguousarray(image), luma, blue, red, 0, 0, self._to_yuv, self._black)
            return av.VideoFrame.from_ndarray(whole, format="yuv420p")
        return self._sws.reformat(
            av.VideoFrame.from_ndarray(image, format="rgb24"),
            format=output_format,
            dst_colorspace=self._matrix,
            dst_color_range=self._range,
            interpolation=SWS_FLAGS,
        )


def _rows(plane: VideoPlane) -> np.ndarray:
    """View a plane, uint8, at least [H, W]: rows are padded."""
    return np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)


def _planes(width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Make room for a frame of 4:2:0: uint8 [H * 3 / 2, W], and luma, blue and red difference within."""
    whole = np.empty((height * 3 // 2, width), np.uint8)
    blue, red = whole[height:].reshape(2, height // 2, width // 2)
    return whole, whole[:height], blue, red


def _coefficients(matrix: Colorspace, colour_range: ColorRange) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """Return rgb_from_yuv [3, 3], yuv_from_rgb [3, 3] and the luma of black; chroma is centred on 128."""
    red, blue = LUMA_WEIGHTS[matrix]
    luma = np.array((red, 1 - red - blue, blue))
    blue_difference = (np.array((0, 0, 1)) - luma) / (2 * (1 - blue))
    red_difference = (np.array((1, 0, 0)) - luma) / (2 * (1 - red))
    luma_span, chroma_span = (255, 255) if colour_range == ColorRange.JPEG else (219, 224)
    to_yuv = np.stack((luma * luma_span, blue_difference * chroma_span, red_difference * chroma_span)) / 255
    black = np.float32(0 if colour_range == ColorRange.JPEG else 16)
    return np.linalg.inv(to_yuv).astype(np.float32), to_yuv.astype(np.float32), black


@numba.njit(nogil=True, cache=True, fastmath=True)
def _clipped(value: np.float32) -> np.uint8:
    return np.uint8(np.int32(min(max(value, np.float32(0)), np.float32(255))))


@kernel(f"{PLANE}, {PLANE}, {PLANE}, {IMAGE}, int64, int64, {MATRIX}, float32", fastmath=True)
def _rgb_from_yuv420(luma, blue, red, image, left, top, to_rgb, black):
    """Fill image [h, w, 3] from luma [H, W] and chroma [H / 2, W / 2], where it begins at left and top, both even.

    Single precision and one channel at a time let the compiler vectorise; half a level is added to round.
    """
    height, width = image.shape[:2]
    middle, half, scale, red_v = np.float32(128), np.float32(0.5), to_rgb[0, 0], to_rgb[0, 2]
    green_u, green_v, blue_u = to_rgb[1, 1], to_rgb[1, 2], to_rgb[2, 1]
    parts = np.empty((3, width), np.float32)  # chroma's contribution to each channel in two rows
    line = np.empty((3, width), np.uint8)
    for row in range(height):
        if row % 2 == 0:
            blue_row, red_row = blue[(top + row) >> 1, left >> 1 :], red[(top + row) >> 1, left >> 1 :]
            for x in range(width):
                u, v = np.float32(blue_row[x >> 1]) - middle, np.float32(red_row[x >> 1]) - middle
                parts[0, x] = red_v * v - scale * black + half
                parts[1, x] = green_u * u + green_v * v - scale * black + half
                parts[2, x] = blue_u * u - scale * black + half
        luma_row = luma[top + row, left:]
        for channel in range(3):
            for x in range(width):
                line[channel, x] = _clipped(scale * np.float32(luma_row[x]) + parts[channel, x])
        for x in range(width):
            image[row, x, 0] = line[0, x]
            image[row, x, 1] = line[1, x]
            image[row, x, 2] = line[2, x]


@kernel(f"{IMAGE}, {PLANE}, {PLANE}, {PLANE}, int64, int64, {MATRIX}, float32", fastmath=True)
def _yuv420_from_rgb(image, luma, blue, red, left, top, to_yuv, black):
    """Fill luma [H, W] and chroma [H / 2, W / 2], from left and top on, both even, from image [h, w, 3]."""
    height, width = image.shape[:2]
    middle, quarter, black = np.float32(128.5), np.float32(0.25), black + np.float32(0.5)
    y_r, y_g, y_b = to_yuv[0]
    u_r, u_g, u_b = to_yuv[1]
    v_r, v_g, v_b = to_yuv[2]
    lines = np.empty((2, 3, width), np.float32)
    means = np.empty((3, width // 2), np.float32)  # of 2x2 pixels
    for row in range(0, height, 2):
        for k in range(2):
            for x in range(width):
                lines[k, 0, x] = image[row + k, x, 0]
                lines[k, 1, x] = image[row + k, x, 1]
                lines[k, 2, x] = image[row + k, x, 2]
            luma_row = luma[top + row + k, left:]
            for x in range(width):
                value = y_r * lines[k, 0, x] + y_g * lines[k, 1, x] + y_b * lines[k, 2, x] + black
                luma_row[x] = _clipped(value)
        for c in range(3):
            for x in range(width // 2):
                pair = lines[0, c, 2 * x] + lines[0, c, 2 * x + 1]
                means[c, x] = (pair + lines[1, c, 2 * x] + lines[1, c, 2 * x + 1]) * quarter
        blue_row, red_row = blue[(top + row) >> 1, left >> 1 :], red[(top + row) >> 1, left >> 1 :]
        for x in range(width // 2):
            r, g, b = means[0, x], means[1, x], means[2, x]
            blue_row[x] = _clipped(u_r * r + u_g * g + u_b * b + middle)
            red_row[x] = _clipped(v_r * r + v_g * g + v_b * b + middle)
