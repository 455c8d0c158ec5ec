"""A dub fades back to the source as the mouth leaves the picture, and what lies outside is no reference."""

from __future__ import annotations

import numpy as np
import pytest
from test_leak import TARGET, prepare, scene  # noqa: F401 (a fixture)

from personatalk.errors import NoFaceError
from personatalk.face_rendering.clip_renderer import PICTURE_FADE
from personatalk.geometry.camera import invert_affine, share_in_picture, window_from_image


def edge_at(scene, share: float) -> int:  # noqa: F811
    """Where the picture of the target must end on the right for a share of the window to lie inside, px."""
    geometry, pictures = scene[1], scene[2]
    window, (height, width) = window_from_image(geometry)[TARGET], pictures.shape[1:3]
    return int(np.argmin([abs(share_in_picture(window, edge, height) - share) for edge in range(1, width)])) + 1


def change(scene, clip, share: float) -> float:  # noqa: F811
    """Mean change of the target frame, levels, where its picture ends."""
    image = np.ascontiguousarray(scene[2][TARGET][:, : edge_at(scene, share)])
    rendered = clip.render(TARGET, image)
    changed = np.abs(rendered.image.astype(int) - image)
    assert rendered.is_dubbed == bool(changed.any())
    return float(changed.sum()) / share


@pytest.fixture(scope="module")
def clip(scene):  # noqa: F811
    return prepare(scene, scene[2])


def test_a_window_lies_inside_by_its_area():
    window = np.array(((2, 0, -100), (0, 2, -60)), np.float32)  # 96 by 80 px of the picture from (50, 30) on
    for size, share in (((400, 300), 1.0), ((98, 300), 0.5), ((98, 70), 0.25), ((50, 300), 0.0)):
        assert share_in_picture(window, *size) == pytest.approx(share, abs=1e-4)
    assert invert_affine(window)[:, 2].tolist() == [50, 30]


def test_a_face_half_outside_fades_back_to_the_source(scene, clip):  # noqa: F811
    whole, half = change(scene, clip, 0.8), change(scene, clip, sum(PICTURE_FADE) / 2)
    assert change(scene, clip, PICTURE_FADE[0] - 0.05) == 0
    assert 0.2 * whole < half < 0.7 * whole
    assert change(scene, clip, PICTURE_FADE[1] + 0.02) > 0.85 * whole


def test_what_lies_half_outside_is_no_reference(scene):  # noqa: F811
    pictures = scene[2].copy()
    with pytest.raises(NoFaceError, match="outside the picture"):
        prepare(scene, [image[:, : edge_at(scene, 0.3)] for image in pictures])
