"""A picture is converted in part as it is as a whole, and written with what was not changed as it was read."""

from __future__ import annotations

import av
import numpy as np
import pytest

from personatalk.geometry.camera import WINDOW_HEIGHT, WINDOW_WIDTH, warp_image
from personatalk.media import VideoWriter, read_frames
from personatalk.media.colour import ColourConverter, ColourTags
from personatalk.media.picture import (
    ChangedPicture,
    Picture,
    changes_between,
    part_of,
    shrunk,
    to_yuv,
    with_changes,
    with_part,
)

HEIGHT, WIDTH = 60, 90


def planes_of(frame: av.VideoFrame) -> list[np.ndarray]:
    return [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width].copy() for p in frame.planes]


@pytest.fixture
def converter() -> ColourConverter:
    return ColourConverter(ColourTags(), HEIGHT)


@pytest.fixture
def picture(converter) -> Picture:
    """Noise, also of colours that RGB does not have; rows are padded."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    return Picture(av.VideoFrame.from_ndarray(noise, format="yuv420p"), converter)


@pytest.mark.parametrize("box", [(0, 0, WIDTH, HEIGHT), (7, 5, 42, 39), (0, 1, 1, 2), (85, 55, 90, 60)])
def test_a_part_is_what_the_whole_has_there(picture, converter, box):
    left, top, right, bottom = box
    part = picture.part(box)
    whole = converter.rgb(picture.frame, WIDTH, HEIGHT)
    assert np.array_equal(part, whole[top:bottom, left:right])
    assert np.array_equal(np.asarray(picture), whole) and picture.shape == whole.shape
    assert np.array_equal(picture.part(box), part)  # now that the whole is there


def test_a_window_of_a_picture_is_that_of_the_array(picture):
    for x, y in ((20.0, 10.0), (-15.0, 30.0), (70.0, -20.0), (300.0, 0.0)):  # inside, over edges, outside
        affine = np.array(((4.1, 0.3, -4.1 * x), (-0.3, 4.1, -4.1 * y)), np.float32)
        of_array = warp_image(np.array(picture), affine, WINDOW_WIDTH, WINDOW_HEIGHT)
        fresh = Picture(picture.frame, picture.converter)
        of_picture = warp_image(fresh, affine, WINDOW_WIDTH, WINDOW_HEIGHT)
        difference = np.abs(of_array.astype(int) - of_picture)
        assert difference.max() <= 8 and difference.mean() < 0.1  # OpenCV counts positions in 1/32 px


@pytest.mark.parametrize(
    ("left", "top", "height", "width"), [(10, 8, 20, 30), (11, 7, 21, 33), (10, 8, 21, 31), (0, 0, HEIGHT, WIDTH)]
)
def test_what_is_not_changed_keeps_its_samples(picture, converter, left, top, height, width):
    grey = np.full((height, width, 3), 128, np.uint8)
    changed = with_part(picture, left, top, grey)
    assert isinstance(changed, ChangedPicture)
    assert np.array_equal(np.asarray(changed)[top : top + height, left : left + width], grey)
    before, after = planes_of(picture.frame), planes_of(to_yuv(changed, converter))
    for plane, (was, now) in enumerate(zip(before, after, strict=True)):
        fineness = 1 if plane == 0 else 2
        outside = np.ones(was.shape, bool)
        outside[top // fineness : -(-(top + height) // fineness), left // fineness : -(-(left + width) // fineness)] = 0
        inner = now[top // 2 + 1 : (top + height) // 2 - 1, left // 2 + 1 : (left + width) // 2 - 1] if plane else None
        if plane == 0:  # an odd part's blocks of 2 x 2 pixels are converted with their neighbours
            even = outside.copy()
            even[top - top % 2 : top + height + 1, left - left % 2 : left + width + 1] = 0
            outside = even
        assert np.array_equal(was[outside], now[outside])
        assert inner is None or np.all(inner == 128)


@pytest.mark.parametrize(("left", "top", "height", "width"), [(10, 8, 20, 30), (11, 7, 21, 33), (10, 8, 21, 31)])
def test_blocks_that_share_a_colour_are_converted_as_in_the_whole(picture, converter, left, top, height, width):
    changed = with_part(picture, left, top, np.full((height, width, 3), 128, np.uint8))
    whole = planes_of(converter.yuv(np.asarray(changed)))
    for plane, expected in zip(planes_of(to_yuv(changed, converter))[1:], whole[1:], strict=True):
        blocks = np.s_[top // 2 : -(-(top + height) // 2), left // 2 : -(-(left + width) // 2)]
        assert np.array_equal(plane[blocks], expected[blocks])


def test_another_format_is_converted_as_a_whole(picture):
    changed = with_part(picture, 4, 4, np.zeros((8, 8, 3), np.uint8))
    full = ColourConverter(ColourTags(range=2), HEIGHT)
    assert np.array_equal(planes_of(to_yuv(changed, full))[0], planes_of(full.yuv(np.asarray(changed)))[0])


def test_a_shrunk_picture_is_that_of_the_array(converter):
    ramp = np.linspace(60, 180, 192, dtype=np.float32)
    luma = np.clip(ramp[None] + np.linspace(-20, 20, 160)[:, None], 0, 255).astype(np.uint8)
    chroma = [np.full((80, 96), level, np.uint8) for level in (110, 150)]
    samples = np.concatenate([luma.ravel(), *(plane.ravel() for plane in chroma)]).reshape(240, 192)
    picture = Picture(av.VideoFrame.from_ndarray(samples, format="yuv420p"), converter)
    of_picture, of_array = shrunk(picture, 48, 40), shrunk(np.asarray(picture), 48, 40)
    assert of_picture.shape == of_array.shape == (40, 48, 3) and of_array.std() > 20
    assert np.abs(of_picture - of_array).max() < 2.5


def test_arrays_are_images_too():
    image = np.random.default_rng(1).integers(0, 256, (8, 9, 3), np.uint8)
    changed = with_part(image, 2, 3, np.zeros((2, 4, 3), np.uint8))
    assert np.array_equal(part_of(image, (2, 3, 6, 5)), image[3:5, 2:6])
    assert not np.asarray(changed)[3:5, 2:6].any() and image[3:5, 2:6].any()


def test_a_file_keeps_the_samples_around_a_change(clip, tmp_path):
    path = tmp_path / "changed.mp4"
    with VideoWriter(path, source=clip, audio=None, crf=0) as writer:  # lossless
        for frame in read_frames(clip):
            assert isinstance(frame.pixels, Picture)
            writer.write(with_part(frame.pixels, 8, 6, np.zeros((10, 12, 3), np.uint8)), frame.pts)
    for before, after in zip(read_frames(clip), read_frames(path), strict=True):
        was, now = planes_of(before.pixels.frame)[0], planes_of(after.pixels.frame)[0]
        assert np.array_equal(was[16:], now[16:]) and np.array_equal(was[:, 20:], now[:, 20:])
        assert np.all(after.image[6:16, 8:20] < 3)


def test_two_parts_of_a_picture_are_each_written_around_the_other(picture, converter):
    first, second = (np.full((12, 14, 3), level, np.uint8) for level in (60, 200))
    once = with_part(picture, 10, 8, first)
    twice = with_part(once, 40, 30, second)
    assert isinstance(twice, ChangedPicture)
    image = np.asarray(twice)
    assert np.array_equal(image[8:20, 10:24], first) and np.array_equal(image[30:42, 40:54], second)
    assert np.array_equal(part_of(twice, (5, 5, 50, 40)), image[5:40, 5:50])
    one, both, plain = (
        planes_of(to_yuv(each, converter))[0] for each in (once, twice, with_part(picture, 40, 30, second))
    )
    assert np.array_equal(both[:26], one[:26]) and np.array_equal(both[26:], plain[26:])


def test_changes_bring_the_same_image_back(picture):
    part = np.random.default_rng(2).integers(0, 256, (12, 14, 3), np.uint8)
    fresh = Picture(picture.frame, picture.converter)
    twice = with_part(with_part(picture, 11, 8, part), 20, 15, part)
    again = with_changes(fresh, changes_between(picture, twice))
    assert isinstance(again, ChangedPicture) and np.array_equal(np.asarray(again), np.asarray(twice))
    planes = zip(planes_of(to_yuv(twice, picture.converter)), planes_of(to_yuv(again, picture.converter)), strict=True)
    assert all(np.array_equal(first, second) for first, second in planes)
    assert with_changes(picture, changes_between(picture, picture)) is picture
    array = np.array(picture)
    changed = with_part(array, 11, 8, part)
    assert np.array_equal(with_changes(array, changes_between(array, changed)), changed)
    assert changes_between(array, array.copy()) == []
