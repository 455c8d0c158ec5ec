"""The choice of one face of several."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from personatalk.media import read_frames
from personatalk.page.examples import ASSETS
from personatalk.page.faces import MAX_WIDTH_PX, centre, find_faces, nearest_face


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory):
    """A film of one frame: two heads side by side, the right one half as large."""
    heads = [next(iter(read_frames(ASSETS / name))).image for name in ("grid_speaker.mp4", "rendered_head.mp4")]
    height = min(head.shape[0] for head in heads) // 4 * 4
    left = heads[0][:height]
    right = np.zeros_like(heads[1][:height])
    half = heads[1][:height:2, ::2]
    right[: half.shape[0], : half.shape[1]] = half
    image = np.concatenate([left, right], 1)
    image = np.ascontiguousarray(image[:, : image.shape[1] // 2 * 2])
    path = tmp_path_factory.mktemp("faces") / "two.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path, left.shape[1], image.shape[1], height


def test_both_faces_are_found_and_a_click_takes_the_nearer(two_faces):
    path, seam, width, height = two_faces
    picture, boxes = find_faces(path)
    assert len(boxes) == 2 and picture.width <= MAX_WIDTH_PX
    middles = [centre(box, width, height)[0] for box in boxes]
    assert middles[0] < seam < middles[1]  # the larger comes first
    assert nearest_face(boxes, 0.1, 0.5) == 0 and nearest_face(boxes, 0.9, 0.5) == 1


def test_a_choice_becomes_the_place_of_the_face():
    assert centre(np.array((0.5, 0.25, 0.7, 0.75)), 1000, 400) == pytest.approx((600, 200))
