"""Still images as clips: as long as asked, upright, opaque, in their own size and colours; others are refused."""

from __future__ import annotations

import numpy as np
import pytest
from media_samples import picture
from PIL import Image

from personatalk.errors import MediaError
from personatalk.media import probe_video, read_frames
from personatalk.media.still import MIN_S, first_frame, is_still, probe_clip, read_still, still_clip, write_still_clip


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (720, 480)])
def test_a_still_stands_as_long_as_asked_in_its_own_size_and_colours(tmp_path, size):
    image = np.full((*size, 3), (180, 90, 40), np.uint8)
    Image.fromarray(image).save(tmp_path / "portrait.png")
    with still_clip(tmp_path / "portrait.png", 3.0) as clip:
        info, frames = probe_video(clip), list(read_frames(clip))
        assert (info.height, info.width) == size and float(info.fps) == 25
        assert frames[-1].time == pytest.approx(3.0)
        for frame in (frames[0], frames[-1]):
            assert np.abs(frame.image.astype(int) - image).max() <= 3
    assert not clip.exists()


def test_a_short_speech_still_leaves_a_clip_long_enough(tmp_path):
    Image.fromarray(picture(64, 64)).save(tmp_path / "portrait.jpg")
    with still_clip(tmp_path / "portrait.jpg", 0.2) as clip:
        assert list(read_frames(clip))[-1].time == pytest.approx(MIN_S)


def test_orientation_is_followed_and_transparent_parts_are_white(tmp_path):
    image = Image.new("RGBA", (40, 20), (200, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    read = read_still(tmp_path / "turned.png")
    assert read.shape == (40, 20, 3)
    assert (read[0, 0] == 255).all() and tuple(read[-1, 0]) == (200, 0, 0)


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(MediaError, match="no image at all"):
        read_still(tmp_path / "text.png")
    with pytest.raises(MediaError, match="no file"):
        read_still(tmp_path / "missing.png")
    Image.new("1", (5000, 5000)).save(tmp_path / "huge.png")
    with pytest.raises(MediaError, match="larger than"):
        read_still(tmp_path / "huge.png")


@pytest.mark.parametrize(("name", "expected"), [("a.PNG", True), ("a.jpeg", True), ("a.mp4", False), ("png", False)])
def test_stills_are_told_by_name(tmp_path, name, expected):
    assert is_still(tmp_path / name) is expected


def test_what_is_said_of_a_still_is_true_of_the_clip_that_it_becomes(tmp_path):
    image = picture(64, 96)
    Image.fromarray(image).save(tmp_path / "portrait.png")
    for seconds in (0.5, 3.2):
        said = probe_clip(tmp_path / "portrait.png", seconds)
        made = probe_video(write_still_clip(tmp_path / "portrait.png", tmp_path / "clip.mp4", seconds))
        for name in ("width", "height", "fps", "num_frames", "duration", "has_audio", "bit_depth"):
            assert getattr(said, name) == pytest.approx(getattr(made, name)), name
    assert (first_frame(tmp_path / "portrait.png") == image).all()
    assert np.abs(first_frame(tmp_path / "clip.mp4").astype(int) - image).mean() < 4
