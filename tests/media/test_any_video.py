"""Videos of any size, rate, length and grouping are read as they were written, and written as they were read."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from media_samples import picture, write_video

from personatalk.media import VideoWriter, probe_video, read_frames
from personatalk.media.timeline import Timeline, plan_timeline, read_in_order

TIME_BASE = Fraction(1, 1000)
NEAR = 12.0  # mean levels between a picture and its like after encoding; between two of different number it is more


@st.composite
def videos(draw: st.DrawFn) -> dict:
    """What a video is made of: size, milliseconds of its frames, and how often a key frame comes."""
    even = st.integers(8, 40).map(lambda half: 2 * half)
    steps = draw(st.lists(st.integers(1, 400), min_size=1, max_size=24))
    return {
        "size": (draw(even), draw(even)),
        "ticks": [0, *accumulate(steps)],
        "group": draw(st.integers(1, 12)),
        "suffix": draw(st.sampled_from([".mp4", ".mkv", ".mov"])),
    }


def written(folder: str, video: dict) -> tuple[Path, list[np.ndarray]]:
    """Write a video into a folder; its pictures differ by 40 steps from one to the next."""
    images = [picture(*video["size"], 40 * index) for index in range(len(video["ticks"]))]
    path = Path(folder) / f"video{video['suffix']}"
    return write_video(
        path, images, ticks=video["ticks"], time_base=TIME_BASE, group=video["group"], in_order=True
    ), images


@settings(max_examples=40, deadline=None, derandomize=True)
@given(videos(), st.data())
def test_any_video_is_read_as_it_was_written(video, data):
    with TemporaryDirectory() as folder:
        path, images = written(folder, video)
        frames = list(read_frames(path))
        times = [tick * float(TIME_BASE) for tick in video["ticks"]]
        assert np.allclose([frame.time for frame in frames], times, atol=1e-6)
        assert [frame.index for frame in frames] == list(range(len(images)))
        for frame, image in zip(frames, images, strict=True):
            assert np.abs(frame.image.astype(float) - image).mean() < NEAR
        only = data.draw(st.sets(st.integers(0, len(images) - 1)))
        chosen = list(read_frames(path, only=only))
        assert [frame.index for frame in chosen] == sorted(only)
        assert all(np.array_equal(frame.image, frames[frame.index].image) for frame in chosen)
        first = data.draw(st.integers(0, len(images) - 1))
        later = list(read_frames(path, start_time=frames[first].time))
        assert [frame.pts for frame in later] == [frame.pts for frame in frames[first:]]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(videos(), st.sampled_from(["video", "audio", "loop", "hold"]), st.floats(0.05, 3))
def test_any_video_is_written_as_its_timeline_says(video, length, audio_s):
    with TemporaryDirectory() as folder:
        path, _ = written(folder, video)
        frames = list(read_frames(path))
        plan = plan_timeline(
            np.array([frame.time for frame in frames]), np.array([frame.pts for frame in frames]), audio_s, length
        )
        plan = shortened(plan)
        output = Path(folder) / "out.mp4"
        with VideoWriter(output, path, audio=None, end_pts=plan.end_pts) as writer:
            for pixels, number, pts in zip(read_in_order(path, plan), plan.order, plan.pts, strict=True):
                assert np.array_equal(pixels, frames[number].image)
                writer.write(pixels, int(pts))
        result = list(read_frames(output))
        assert np.allclose([frame.time for frame in result], plan.times - plan.times[0], atol=2e-3)
        info, (height, width) = probe_video(output), video["size"]
        assert (info.width, info.height) == (width, height)


def shortened(plan: Timeline, most: int = 60) -> Timeline:
    """The first frames of a timeline, so that a test stays quick."""
    return plan if len(plan.order) <= most else plan.part(slice(0, most))
