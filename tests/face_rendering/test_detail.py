"""Fine detail: as strong as in the references, never weaker than it was, and only inside the mask."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from personatalk.face_rendering.detail import MAX_GAIN, detail_energy, detail_of, restore_detail, wanted_energy

SAME = np.float32([[1, 0, 0], [0, 1, 0]])
MASK = np.zeros((160, 192), np.float32)
MASK[20:140, 20:170] = 1


@pytest.fixture(scope="module")
def skin():
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(160, 192)).astype(np.float32), (0, 0), 0.7)
    return np.repeat(np.round(128 + 12 * grain)[..., None], 3, -1).clip(0, 255).astype(np.uint8)


def identity_grid() -> np.ndarray:
    x, y = np.meshgrid(np.arange(192) + 0.5, np.arange(160) + 0.5)
    return np.stack([x, y], -1).astype(np.float32)


def test_blurred_skin_gets_its_grain_back(skin):
    blurred = cv2.GaussianBlur(skin, (0, 0), 0.45)
    restored = restore_detail(blurred, MASK, detail_energy(skin, SAME), SAME)
    strength = [float((detail_of(image)[40:120, 40:150] ** 2).mean()) for image in (skin, blurred, restored)]
    assert strength[1] < 0.75 * strength[0]
    assert strength[2] == pytest.approx(strength[0], rel=0.1)


def test_what_is_strong_enough_stays(skin):
    assert np.array_equal(restore_detail(skin, MASK, np.zeros((40, 48), np.float32), SAME), skin)
    assert np.abs(restore_detail(skin, MASK, detail_energy(skin, SAME), SAME).astype(int) - skin).max() <= 1


def test_nothing_changes_outside_of_the_mask(skin):
    restored = restore_detail(skin, MASK, np.full((40, 48), 1e4, np.float32), SAME)
    assert np.array_equal(restored[MASK == 0], skin[MASK == 0])
    assert not np.array_equal(restored, skin)


def test_detail_grows_by_no_more_than_the_limit(skin):
    restored = restore_detail(skin, MASK, np.full((40, 48), 1e6, np.float32), SAME).astype(np.float32)
    expected = skin + (MAX_GAIN - 1) * detail_of(skin)
    inner = np.s_[40:120, 40:150]
    assert np.abs(restored[inner] - expected.clip(0, 255)[inner]).max() < 0.6


def test_energy_is_that_of_the_references_by_their_weights(skin):
    strong, weak = detail_energy(skin, SAME), detail_energy(cv2.GaussianBlur(skin, (0, 0), 2), SAME)
    grids = np.stack([identity_grid()] * 3)
    weights = np.stack([np.full((40, 48), w, np.float32) for w in (0.25, 0.75, 1.0)])
    gate = np.full((160, 192), 0.8, np.float32)
    wanted = wanted_energy([strong, weak, weak], grids, weights, gate, num_lip=2)
    np.testing.assert_allclose(wanted[2:-2, 2:-2], (0.2 * strong + 0.8 * weak)[2:-2, 2:-2], rtol=0.02)


def test_energy_does_not_depend_on_how_large_the_picture_lies_in_the_window(skin):
    half = SAME * np.float32(0.5)
    small, large = detail_energy(skin, half)[:20, :24], detail_energy(skin, SAME)
    assert small[3:-3, 3:-3].mean() == pytest.approx(large[6:-6, 6:-6].mean(), rel=0.1)


def test_energy_lies_where_the_detail_is():
    patch = np.full((160, 192, 3), 128, np.uint8)
    patch[60:100, 80:140] += (np.indices((40, 60)).sum(0) % 2 * 40).astype(np.uint8)[..., None]
    energy = detail_energy(patch, SAME)
    rows, columns = np.mgrid[:40, :48] + 0.5
    assert (energy * rows).sum() / energy.sum() * 4 == pytest.approx(80, abs=0.3)
    assert (energy * columns).sum() / energy.sum() * 4 == pytest.approx(110, abs=0.3)
