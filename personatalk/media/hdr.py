"""High dynamic range: a mastering display's colours and luminance, read from one file and written into another."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np

PRIMARY_UNITS = 50000  # per unit of CIE 1931 xy, SMPTE ST 2086
LUMINANCE_UNITS = 10000  # per cd/m2
HDR_TRANSFERS = (16, 18)  # SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG), codes of ISO/IEC 23091-2


@dataclass(frozen=True, kw_only=True)
class MasteringMetadata:
    """What a display needs to know to map the tones of a PQ video (static metadata of HDR10).

    Attributes:
        display: of the mastering display, SMPTE ST 2086: x and y of red, green, blue and white in PRIMARY_UNITS, then
            the least and the greatest luminance in LUMINANCE_UNITS; None where the file does not state it.
        light_levels: MaxCLL and MaxFALL of CTA-861.3, cd/m2; None where the file does not state them.
    """

    display: tuple[int, ...] | None
    light_levels: tuple[int, int] | None

    def x265_params(self) -> list[str]:
        """Return the encoder's parameters that write this into the stream."""
        params = []
        if self.display:
            red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y, least, greatest = self.display
            params.append(
                f"master-display=G({green_x},{green_y})B({blue_x},{blue_y})R({red_x},{red_y})"
                f"WP({white_x},{white_y})L({greatest},{least})"
            )
        if self.light_levels:
            params.append("max-cll={},{}".format(*self.light_levels))
        return params


def mastering_metadata(picture: av.VideoFrame) -> MasteringMetadata | None:
    """Return what a decoded picture says of its mastering display, or None if it says nothing.

    To be asked of one frame of a video only, as all side data.
    """
    display, light_levels = None, None
    if (data := picture.side_data.get("MASTERING_DISPLAY_METADATA")) is not None:
        numbers = np.frombuffer(data, "<i4")  # ten rationals, then whether primaries and luminance are given
        has_primaries, has_luminance = numbers[20:22]
        if has_primaries and has_luminance:
            values = numbers[:20:2] / np.maximum(numbers[1:20:2], 1)
            units = np.where(np.arange(10) < 8, PRIMARY_UNITS, LUMINANCE_UNITS)
            display = tuple(int(value) for value in np.rint(values * units))
    if (data := picture.side_data.get("CONTENT_LIGHT_LEVEL")) is not None:
        max_cll, max_fall = np.frombuffer(data, "<u4")[:2]
        light_levels = int(max_cll), int(max_fall)
    if display is None and light_levels is None:
        return None
    return MasteringMetadata(display=display, light_levels=light_levels)
