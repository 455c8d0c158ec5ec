"""The output's frames and their times, at constant and variable frame rates."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from media_samples import picture, write_video

from personatalk.media import VideoWriter, probe_video, read_frames
from personatalk.media.timeline import plan_timeline, read_in_order

TICK = 1 / 90000  # s
FILLING = ["audio", "loop", "hold"]


@st.composite
def sources(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Times and ticks of a source of some constant or variable rate."""
    ticks = st.one_of(st.sampled_from([900, 1500, 3003, 3600, 3750, 9000, 45000]), st.integers(1, 90000))
    count = draw(st.integers(2, 120))
    constant = st.builds(lambda step: [step] * (count - 1), ticks)
    steps = draw(st.one_of(constant, st.lists(ticks, min_size=count - 1, max_size=count - 1)))
    pts = np.concatenate([[0], np.cumsum(steps)])
    return pts * TICK, pts


@settings(max_examples=200, deadline=None, derandomize=True)
@given(source=sources(), audio_s=st.floats(0.01, 12), length=st.sampled_from(FILLING))
def test_the_output_is_as_long_as_the_speech_and_every_frame_keeps_its_speed(source, audio_s, length):
    times, pts = source
    assume(audio_s / (times[-1] - times[0]) < 200)
    plan = plan_timeline(times, pts, audio_s, length)
    count, usual = len(times), np.median(np.diff(pts))
    assert len(plan.order) == len(plan.pts) == len(plan.times) >= 1
    assert (np.diff(plan.pts) > 0).all() and np.allclose(plan.times, plan.pts * TICK, atol=1e-9)
    assert audio_s - 2 * TICK <= plan.end_pts * TICK <= audio_s + (usual + 1) * TICK
    assert plan.times[-1] < audio_s and plan.end_pts > plan.pts[-1]
    first = min(count, len(plan.order))
    assert np.array_equal(plan.order[:first], np.arange(first))
    assert np.array_equal(plan.pts[:first], pts[:first]), "the first time through, nothing changes"
    moves = np.diff(plan.order)
    expected = {"audio": (-1, 1), "loop": (1, 1 - count), "hold": (0, 1)}[length]
    assert np.isin(moves, expected).all()
    neighbours = np.abs(moves) == 1
    gaps = np.abs(np.diff(pts[plan.order]))
    assert np.array_equal(np.diff(plan.pts)[neighbours], gaps[neighbours]), "a step back is as long as one forth"
    assert (np.diff(plan.pts)[~neighbours] == int(usual)).all()


@pytest.mark.parametrize("length", FILLING)
@pytest.mark.parametrize(("audio_s", "num_frames"), [(2.0, 50), (2.01, 51), (0.4, 10), (0.001, 1)])
def test_a_constant_rate_stays_constant(length, audio_s, num_frames):
    pts = np.arange(20) * 512
    plan = plan_timeline(pts / 12800, pts, audio_s, length)
    assert np.array_equal(plan.pts, np.arange(num_frames) * 512)
    assert plan.end_pts == num_frames * 512


def varied_source(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Times and ticks of a source of variable rate."""
    steps = np.random.default_rng(seed).choice([900, 1500, 3003, 3600, 9000, 45000], 80)
    pts = np.concatenate([[0], np.cumsum(steps)])
    return pts * TICK, pts


def test_the_videos_own_length_leaves_it_as_it_is():
    times, pts = varied_source(3)
    plan = plan_timeline(times, pts, 2.0, "video")
    assert np.array_equal(plan.pts, pts) and np.array_equal(plan.order, np.arange(len(pts)))
    assert plan.end_pts is None


TICKS = {
    "mostly fast": [0, *np.cumsum(([33] * 5 + [333]) * 5).tolist()],
    "mostly slow": [0, *np.cumsum(([100] * 5 + [20] * 3) * 4).tolist()],
    "one long pause": [0, 40, 80, 1900, 1940, 1980, 3500, 3540],
    "constant": list(range(0, 1200, 40)),
}


@pytest.mark.parametrize("length", FILLING)
@pytest.mark.parametrize("name", TICKS)
@pytest.mark.parametrize("audio_s", [1.0, 2.0, 4.4])
def test_a_file_of_variable_rate_is_written_as_long_as_the_speech(tmp_path, length, name, audio_s):
    images = [picture(32, 32, index) for index in range(len(TICKS[name]))]
    source = write_video(tmp_path / "in.mp4", images, ticks=TICKS[name], time_base=Fraction(1, 1000), group=6)
    frames = list(read_frames(source))
    plan = plan_timeline(
        np.array([frame.time for frame in frames]), np.array([frame.pts for frame in frames]), audio_s, length
    )
    with VideoWriter(tmp_path / "out.mp4", source, audio=None, end_pts=plan.end_pts) as writer:
        for image, number, pts in zip(read_in_order(source, plan), plan.order, plan.pts, strict=True):
            assert np.array_equal(image, frames[number].image)
            writer.write(image, int(pts))
    written = probe_video(tmp_path / "out.mp4")
    assert written.num_frames == len(plan.order)
    assert written.duration == pytest.approx(audio_s, abs=0.045 if name == "constant" else 0.101)
    assert written.duration > audio_s - 0.002


@pytest.mark.parametrize("length", ["video", *FILLING])
def test_a_part_of_the_output_is_an_output_of_its_own(length):
    times, pts = varied_source(10)
    plan = plan_timeline(times, pts, 9.0, length)
    start, end = 0.3 * plan.times[-1], 0.6 * plan.times[-1]
    kept = plan.positions(start, end)
    part = plan.part(kept)
    shown = plan.times - plan.times[0]
    assert np.array_equal(part.order, plan.order[(shown >= start) & (shown < end)])
    assert part.pts[0] == 0 and np.array_equal(np.diff(part.pts), np.diff(plan.pts[kept]))
    assert part.end_pts == plan.pts[kept.stop] - plan.pts[kept.start]
    begins, ends = plan.seconds(kept)
    assert begins >= start and ends - begins == pytest.approx(part.end_pts * TICK)
    with pytest.raises(ValueError, match="no frame"):
        plan.positions(100.0, 101.0)
