"""Shots of made videos: two persons joined in several ways, and what must not end a shot."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from media_samples import ASSETS

from personatalk.media import read_frames
from personatalk.media.shots import ShotDetector, Shots

FPS = 25
LENGTH = 36  # frames of each person


@pytest.fixture(scope="module")
def persons() -> list[list[np.ndarray]]:
    """Two persons, 240 x 180 px."""
    clips = []
    for name in ("grid_speaker.mp4", "rendered_head.mp4"):
        frames = [frame.image for frame, _ in zip(read_frames(ASSETS / name), range(LENGTH), strict=False)]
        clips.append([cv2.resize(frame, (240, 180), interpolation=cv2.INTER_AREA) for frame in frames])
    assert [len(clip) for clip in clips] == [LENGTH, LENGTH]
    return clips


def find(frames: list[np.ndarray], fps: float = FPS) -> Shots:
    detector = ShotDetector(fps)
    for frame in frames:
        detector.add(frame)
    return detector.finish()


def mix(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    return cv2.addWeighted(first, 1 - share, second, share, 0)


def test_one_person_is_one_shot(persons):
    for clip in persons:
        shots = find(clip)
        assert (shots.first.tolist(), shots.last.tolist()) == ([0], [LENGTH - 1])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("place", [1, 3, 8, 20, 35])
def test_a_cut_is_found_to_the_frame_wherever_it_is(persons, order, place):
    before, after = (persons[number] for number in order)
    shots = find(before[:place] + after)
    assert shots.first.tolist() == [0, place] and shots.last[0] == place - 1
    assert find(before + after[:place]).first.tolist() == [0, LENGTH]


def test_a_frame_after_a_cut_or_a_blank_is_told_at_once(persons):
    before, after = persons
    detector = ShotDetector(FPS)
    blank = [np.zeros_like(before[0])] * 3
    frames = before[:20] + after[:20] + blank + after[20:]
    assert [number for number, frame in enumerate(frames) if detector.add(frame)] == [20, 43]


def test_a_picture_too_short_for_a_shot_lies_between_two(persons):
    before, after = persons
    shots = find(before[:20] + [cv2.flip(after[0], 0)] * 4 + after)
    assert (shots.first.tolist(), shots.last[0]) == ([0, 24], 19)


def test_where_every_frame_is_another_picture_there_are_no_cuts():
    pictures = np.random.default_rng(0).integers(0, 256, (60, 18, 24, 3), np.uint8)
    assert find([cv2.resize(picture, (240, 180)) for picture in pictures]).first.tolist() == [0]


def test_many_cuts_are_found_in_a_long_video(persons):
    lengths = [12, 30, 11, 36, 20, 36, 10, 25] * 3
    frames = [frame for number, length in enumerate(lengths) for frame in persons[number % 2][:length]]
    shots = find(frames)
    assert shots.first.tolist() == [0, *np.cumsum(lengths)[:-1].tolist()]
    assert np.array_equal(shots.last[:-1], shots.first[1:] - 1) and shots.last[-1] == len(frames) - 1


@pytest.mark.parametrize("length", [8, 14, 24])
def test_frames_of_a_dissolve_belong_to_no_shot(persons, length):
    before, after = persons
    shares = np.linspace(0, 1, length + 2)[1:-1]
    mixed = [mix(*pair, share) for *pair, share in zip(before[-length:], after[:length], shares, strict=True)]
    shots = find(before[:-length] + mixed + after[length:])
    start = LENGTH - length
    assert len(shots.first) == 2
    assert start - 3 <= shots.last[0] <= start + 2 and start + length - 3 <= shots.first[1] <= start + length + 2
    labels = shots.labels()
    assert (labels[: start - 3] == 0).all() and (labels[start + length + 3 :] == 1).all()
    assert (labels[start + 3 : start + length - 3] == -1).all()


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("hold", [1, 10, 40])
def test_a_fade_ends_a_shot_if_another_follows(persons, level, hold):
    before, after = persons
    blank = np.full_like(before[0], level)
    gone = [mix(frame, blank, (index + 1) / 8) for index, frame in enumerate(before[-8:])]
    come = [mix(blank, frame, index / 8) for index, frame in enumerate(after[:8])]
    shots = find(before[:-8] + gone + [blank] * hold + come + after[8:])
    assert len(shots.first) == 2
    assert LENGTH - 8 <= shots.last[0] < LENGTH and LENGTH + hold <= shots.first[1] <= LENGTH + hold + 8
    back = [mix(blank, frame, index / 8) for index, frame in enumerate(before[::-1][:8])]
    assert len(find(before[:-8] + gone + [blank] * hold + back + before[::-1][8:]).first) == 1


@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_what_flashes_up_ends_no_shot(persons, length):
    before, after = persons
    both = before + before[::-1]
    for shown in (
        [np.zeros_like(before[0])] * length,
        [np.full_like(before[0], 255)] * length,
        [cv2.convertScaleAbs(frame, alpha=1.5, beta=90) for frame in both[20 : 20 + length]],
        after[:length],
    ):
        assert find(both[:20] + shown + both[20 + length :]).first.tolist() == [0]


@pytest.mark.parametrize("speed", [1, 4, 8])
def test_a_pan_ends_no_shot(persons, speed):
    """Up to 8 of 160 px a frame: 1.25 picture widths per second."""
    both = persons[0] + persons[0][::-1]
    places = np.abs((np.arange(len(both)) * speed) % 160 - 80)
    frames = [frame[30:150, place : place + 160] for frame, place in zip(both, places, strict=True)]
    assert find(frames).first.tolist() == [0]


def test_a_zoom_and_a_change_of_light_end_no_shot(persons):
    both = persons[0] + persons[0][::-1]
    zoomed = [
        cv2.resize(frame[i // 2 : 180 - i // 2, i // 2 : 240 - i // 2], (240, 180)) for i, frame in enumerate(both)
    ]
    assert find(zoomed).first.tolist() == [0]
    gains = np.interp(np.arange(len(both)), [0, 20, 22, len(both)], [1, 1, 0.4, 1])
    assert (
        find([cv2.convertScaleAbs(frame, alpha=gain) for frame, gain in zip(both, gains, strict=True)]).first.size == 1
    )


@pytest.mark.parametrize("fps", [10, 12.5, 50, 60])
def test_other_frame_rates(persons, fps):
    before, after = ([clip[round(i * FPS / fps)] for i in range(int(1.4 * fps))] for clip in persons)
    assert find(before + after, fps).first.tolist() == [0, len(before)]


def test_odd_videos_have_one_shot():
    assert find([]).first.size == 0
    assert find([np.zeros((40, 60, 3), np.uint8)] * 30).first.tolist() == [0]
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    assert find([noise]).first.tolist() == [0] and find([noise] * 5).last.tolist() == [4]
