"""The animation of before and after: both videos in step, in each format."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
import pytest
from media_samples import write_video
from PIL import Image

from personatalk.inspection.comparison import MAX_S, write_comparison, write_side_by_side
from personatalk.media import AI_MODIFIED, VideoWriter, probe_video, read_audio, read_frames

WIDTH, HEIGHT, BAR = 240, 96, 8  # px
SHOWN_FPS = 12.5


def moving_bar(num_frames: int, step: int) -> list[np.ndarray]:
    """White bars on black that move by `step` px a frame."""
    images = np.zeros((num_frames, HEIGHT, WIDTH, 3), np.uint8)
    for index, image in enumerate(images):
        image[:, index * step : index * step + BAR] = 255
    return list(images)


def bars_of(path: Path) -> np.ndarray:
    """[T, 2] px, left edges of the bars in the source's and in the dubbed picture."""
    frames = np.stack([frame[: HEIGHT - 10, :, 0] for frame in iio.imiter(path)]).astype(float).mean(1)
    halves = frames[:, :WIDTH], frames[:, -WIDTH:]
    return np.stack([(half > 128).argmax(1) for half in halves], 1)


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_both_videos_are_shown_at_the_same_time(tmp_path, suffix):
    before = write_video(tmp_path / "before.mp4", moving_bar(50, 4))
    after = write_video(tmp_path / "after.mp4", moving_bar(50, 4))
    path = write_comparison(before, after, tmp_path / f"comparison{suffix}")
    np.testing.assert_allclose(bars_of(path), np.stack([8 * np.arange(25)] * 2, 1), atol=1)  # every other frame
    with Image.open(path) as animation:
        animation.seek(1)
        animation.load()
        assert animation.info["duration"] == pytest.approx(1000 / SHOWN_FPS)
        assert animation.info["loop"] == 0  # forever


def test_any_frame_rate_is_shown_at_its_own_speed_and_a_short_source_holds_its_last_frame(tmp_path):
    before = write_video(tmp_path / "before.mp4", moving_bar(25, 8))
    after = write_video(tmp_path / "after.mp4", moving_bar(100, 2), fps=Fraction(50))
    source, dubbed = bars_of(write_comparison(before, after, tmp_path / "comparison.webp")).T
    np.testing.assert_allclose(dubbed, 8 * np.arange(25), atol=1)
    np.testing.assert_allclose(source[:12], 16 * np.arange(12), atol=1)
    assert (np.abs(source[12:] - 192) <= 1).all()


def test_pictures_per_second_are_chosen(tmp_path):
    video = write_video(tmp_path / "video.mp4", moving_bar(50, 4))
    path = write_comparison(video, video, tmp_path / "comparison.webp", fps=25)
    np.testing.assert_allclose(bars_of(path), np.stack([4 * np.arange(50)] * 2, 1), atol=1)


def test_a_long_video_is_cut_and_a_large_one_made_small(tmp_path):
    images = [image.repeat(4, 0).repeat(4, 1) for image in moving_bar(130, 2)]
    video = write_video(tmp_path / "long.mp4", images, fps=Fraction(10))
    frames = list(iio.imiter(write_comparison(video, video, tmp_path / "comparison.webp")))
    assert 2 * WIDTH < frames[0].shape[1] < 4 * WIDTH
    assert len(frames) == 10 * MAX_S  # each frame of the video once; a repeated picture is one with a longer time


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match="comparison.png"):
        write_comparison(tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "comparison.png")


def test_both_videos_beside_each_other_keep_every_frame_and_the_dubs_sound(tmp_path, speech):
    before = write_video(tmp_path / "before.mp4", moving_bar(10, 8))
    after = write_video(tmp_path / "after.mp4", moving_bar(24, 8))
    with_sound = tmp_path / "dubbed.mp4"
    with VideoWriter(with_sound, source=after, audio=speech) as writer:
        for frame in read_frames(after):
            writer.write(frame.image, frame.pts)
    path = write_side_by_side(before, with_sound, tmp_path / "both.part", names=("a", "b"))
    bars = bars_of(path)
    np.testing.assert_allclose(bars[:, 1], 8 * np.arange(24), atol=1)
    np.testing.assert_allclose(bars[:, 0], 8 * np.minimum(np.arange(24), 9), atol=1)  # it holds its last frame
    assert float(probe_video(path).fps) == pytest.approx(25, rel=0.01)
    np.testing.assert_allclose(len(read_audio(path)), len(read_audio(with_sound)), rtol=0.05)
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == AI_MODIFIED
