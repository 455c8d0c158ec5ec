"""Fitting a followed face: what is told of it, and stopping it."""

from __future__ import annotations

import pytest
from media_samples import write_video
from painted_face import painted_scene

from personatalk.errors import CancelledError
from personatalk.occlusion.search import estimate_face


@pytest.fixture(scope="module")
def video_scene(tmp_path_factory):
    mesh, track, images = painted_scene()
    return write_video(tmp_path_factory.mktemp("painted") / "face.mp4", images), track, mesh


def test_steps_count_all_that_is_done_with_the_frames(video_scene):
    told = []
    estimate_face(*video_scene, step=lambda index, count: told.append((index, count)))
    assert told == [(index, len(told)) for index in range(len(told))]
    assert len(told) > 5 * len(video_scene[1].times)  # reading is the least of it


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.95])
def test_it_stops_in_whatever_it_does(video_scene, share):
    told = []

    def step(index: int, count: int) -> None:
        told.append(index)
        if index >= share * count:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        estimate_face(*video_scene, step=step)
    assert told[-1] == len(told) - 1  # and does nothing more
