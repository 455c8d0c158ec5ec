"""A face that the tracker loses for a while is found by registration, or left alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from person_clips import rendered_head

from personatalk.persons.faces import box_of
from personatalk.persons.lost_face import cut_patch, find_in_gap

COUNT = 30
TURN_DEG, SHIFT_PX, GROWTH = 14.0, 46.0, 1.15  # to the middle of the gap and back


@pytest.fixture(scope="module")
def head():
    """The rendered head, and points on its face [478, 3] px."""
    image = rendered_head(1)[0]
    places = np.random.default_rng(0).uniform((-45, -55), (45, 55), (478, 2)) + (image.shape[1] / 2, image.shape[0] / 2)
    return image, np.concatenate([places, np.linspace(-20, 20, 478)[:, None]], 1)


def moved(image: np.ndarray, points: np.ndarray, amount: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture and the points, turned, shifted and grown."""
    height, width = image.shape[:2]
    affine = cv2.getRotationMatrix2D((width / 2, height / 2), TURN_DEG * amount, 1 + (GROWTH - 1) * amount)
    affine[0, 2] += SHIFT_PX * amount
    there = cv2.warpAffine(image, affine, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return there, np.concatenate([points[:, :2] @ affine[:, :2].T + affine[:, 2], points[:, 2:]], 1)


def there_and_back(head) -> tuple[list[np.ndarray], np.ndarray]:
    """A head that sways: pictures, and its points [T, 478, 3]."""
    frames = [moved(*head, amount) for amount in np.sin(np.linspace(0, np.pi, COUNT))]
    return [image for image, _ in frames], np.stack([points for _, points in frames])


def patches_of(images, points) -> list[np.ndarray]:
    return [cut_patch(image, box_of(points[0])) for image in images]


def test_a_lost_face_is_found_where_it_went(head):
    images, points = there_and_back(head)
    found = find_in_gap(patches_of(images, points), box_of(points[0]), points[0], points[-1])
    errors = np.linalg.norm((found - points[1:-1])[..., :2], axis=-1).mean(1)
    assert errors.max() < 2.5
    np.testing.assert_allclose(found[:, :, 2], np.tile(points[0, :, 2], (COUNT - 2, 1)), atol=1e-3)
    interpolated = np.linalg.norm((points[0] - points[1:-1])[..., :2], axis=-1).mean(1)
    assert interpolated.max() > 30  # so that there was something to find


def test_a_face_that_was_hidden_is_left_alone(head):
    images, points = there_and_back(head)
    for image in images[12:15]:
        image[:] = 90
    assert find_in_gap(patches_of(images, points), box_of(points[0]), points[0], points[-1]) is None


def test_a_face_that_comes_back_elsewhere_than_registration_says_is_left_alone(head):
    images, points = there_and_back(head)
    elsewhere = points[-1] + (25.0, 0.0, 0.0)
    assert find_in_gap(patches_of(images, points), box_of(points[0]), points[0], elsewhere) is None


def test_a_gap_of_one_frame_is_filled(head):
    images, points = there_and_back(head)
    found = find_in_gap(patches_of(images[:3], points[:3]), box_of(points[0]), points[0], points[2])
    np.testing.assert_allclose(found[0, :, :2], points[1, :, :2], atol=1.5)
