"""The portrait shows the frame, and grey beyond its border."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.geometry.camera import warp_image
from personatalk.inspection.portrait import FADE_PX, OUTSIDE, fade_outside

RED = (200, 10, 10)


@pytest.mark.parametrize("degrees", [0, 90])
def test_beyond_the_border_is_grey_and_the_frame_itself_is_untouched(degrees):
    """A red frame of 60 x 40 px, twice as large in the middle of a picture of 200 x 200 px."""
    turn = np.deg2rad(degrees)
    linear = 2 * np.array(((np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))))
    affine = np.concatenate([linear, ((100, 100) - linear @ (30, 20))[:, None]], 1).astype(np.float32)
    cut = warp_image(np.full((40, 60, 3), RED, np.uint8), affine, 200, 200)
    assert (cut == RED).all()  # the border is repeated
    faded = fade_outside(cut, affine, 60, 40)
    half = (60, 40) if degrees == 0 else (40, 60)
    inside = np.zeros((200, 200), bool)
    inside[100 - half[1] : 100 + half[1], 100 - half[0] : 100 + half[0]] = True
    assert (faded[inside] == RED).all()
    far = int(FADE_PX) + 1
    outer = np.zeros((200, 200), bool)
    outer[100 - half[1] - far : 100 + half[1] + far, 100 - half[0] - far : 100 + half[0] + far] = True
    assert (faded[~outer] == OUTSIDE).all()
