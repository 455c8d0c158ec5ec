"""The choice of one face of several."""

from __future__ import annotations

import numpy as np
import pytest
from media_samples import write_two_faces

from personatalk.webapp.face_choice import MAX_WIDTH_PX, centre, find_faces, nearest_face


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory):
    return write_two_faces(tmp_path_factory.mktemp("faces") / "two.mp4")


def test_both_faces_are_found_and_a_click_takes_the_nearer(two_faces):
    path, seam, width, height = two_faces
    picture, boxes = find_faces(path)
    assert len(boxes) == 2 and picture.shape[1] <= MAX_WIDTH_PX
    middles = [centre(box, width, height)[0] for box in boxes]
    assert middles[0] < seam < middles[1]  # the larger comes first
    assert nearest_face(boxes, 0.1, 0.5) == 0 and nearest_face(boxes, 0.9, 0.5) == 1


def test_a_choice_becomes_the_place_of_the_face():
    assert centre(np.array((0.5, 0.25, 0.7, 0.75)), 1000, 400) == pytest.approx((600, 200))
