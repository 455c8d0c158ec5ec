"""The film of the turning faces, and the picture that paints them."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.geometry.face_model import NUM_VERTICES
from personatalk.inspection.glb import most_frontal, painting
from personatalk.inspection.portrait import portrait_from_image
from personatalk.inspection.turntable import SIDE_PX, SURFACES, _Painter, turntable
from personatalk.media import probe_video, read_frames

COUNT = 3  # faces beside each other


@pytest.mark.parametrize("surface", SURFACES)
def test_three_faces_turn_and_speak_for_as_long_as_the_clip(inspection, tmp_path, surface):
    path = turntable(inspection, tmp_path / "film.mp4", surface=surface)
    info = probe_video(path)
    assert info.width == COUNT * SIDE_PX and info.duration == pytest.approx(inspection.num_frames / 25, abs=0.05)
    frames = [frame.image.astype(int) for frame in read_frames(path)]
    for number in range(COUNT):
        side = [frame[:SIDE_PX, number * SIDE_PX : (number + 1) * SIDE_PX] for frame in (frames[0], frames[24])]
        assert (side[0] < 200).any(-1).mean() > 0.03  # there is a face
        assert np.abs(side[0] - side[1]).mean() > 4  # which turns


def test_a_face_is_seen_from_the_side_that_is_said(inspection):
    painter = _Painter(inspection, "grey")
    left, right = ((painter.draw(inspection.posed.template, yaw) < 250).any(-1).mean(0) for yaw in (-50, 50))
    assert np.abs(left[::-1] - right).mean() < 0.4 * np.abs(left - right).mean()  # mirrored, as faces nearly are
    with pytest.raises(ValueError, match="a surface is one of"):
        _Painter(inspection, "gold")


def test_nothing_is_painted_from_where_the_face_is_not_seen(inspection):
    t, posed = most_frontal(inspection), inspection.posed
    picture, portrait = painting(inspection).astype(int), inspection.portrait(t, "source").astype(int)
    affine = portrait_from_image(posed)[t]
    points = inspection.mesh.project(posed.pose(t, inspection.source_vertices[t], affine))[:NUM_VERTICES]
    nose = points[4].round().astype(int)
    near = np.s_[nose[1] - 4 : nose[1] + 4, nose[0] - 4 : nose[0] + 4]
    np.testing.assert_array_equal(picture[near], portrait[near])  # the middle of the face is the clip's own
    beside = picture[:, : max(1, int(points[:, 0].min()) - 5)]
    assert np.ptp(beside.reshape(-1, 3), axis=0).max() == 0  # one colour, whatever is behind the person
