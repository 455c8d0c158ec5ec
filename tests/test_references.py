"""Reference selection: coverage beats chance, near frames are shunned, nothing jumps; and the output's timeline."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import write_clip
from scipy.spatial.distance import cdist

from personatalk.clip_references import (
    BANK_PIXELS,
    FACE_BANK_SIZE,
    LIP_BANK_SIZE,
    MIN_FACE_BANK,
    MIN_LIP_BANK,
    bank_sizes,
)
from personatalk.face_model import openness
from personatalk.media import read_frames
from personatalk.references import MIN_GAP, counting, rank_face_references, rank_lip_references, select_lip_references
from personatalk.timeline import bounce, hold, loop, plan_timeline, read_in_order


@pytest.fixture
def shapes() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)


def test_coverage_leaves_no_mouth_far_from_a_reference(shapes):
    covered = cdist(shapes, shapes[select_lip_references(shapes, shapes, 10)]).min(1).mean()
    chances = [
        cdist(shapes, shapes[select_lip_references(shapes, shapes, 10, strategy="random", seed=s)]).min(1).mean()
        for s in range(20)
    ]
    assert covered < min(chances)


def test_paper_strategy_spans_the_openness():
    vertices = np.zeros((50, 468, 3), np.float32)
    vertices[:, [14, 87, 317], 1] = np.random.default_rng(0).permutation(50)[:, None]
    chosen = select_lip_references(np.zeros((50, 2)), np.zeros((1, 2)), 5, strategy="paper", opening=openness(vertices))
    assert {0.0, 49.0} <= set(vertices[chosen, 14, 1])


@pytest.mark.parametrize("strategy", ["coverage", "paper", "random", "nearest"])
def test_no_frame_is_chosen_twice(shapes, strategy):
    opening = np.random.default_rng(1).normal(size=120)
    chosen = select_lip_references(shapes, shapes, 12, strategy=strategy, opening=opening)
    assert len(set(chosen)) == 12


def test_near_frames_have_no_weight(shapes):
    gap = np.arange(120) - 60
    for chosen, weights in (
        rank_lip_references(shapes, shapes[60], gap, 5),
        rank_face_references(gap, 2),
    ):
        assert (np.abs(gap[chosen]) >= MIN_GAP).all() or (weights[np.abs(gap[chosen]) < MIN_GAP] < -15).all()


def test_weights_change_without_jumps(shapes):
    bank, far = shapes[:16], np.full(16, 1000)
    start, end = shapes[40], shapes[41]

    def weights(share: float) -> np.ndarray:
        chosen, log_weights = rank_lip_references(bank, start + share * (end - start), far, 4)
        dense = np.zeros(16)
        dense[chosen] = np.exp(log_weights) / np.exp(log_weights).sum()
        return dense

    steps = [np.abs(weights(s + 0.002) - weights(s)).max() for s in np.arange(0, 1, 0.002)]
    assert max(steps) < 0.05


@pytest.mark.parametrize("num_far", [0, 1, 2, 9])
def test_few_or_no_references_far_enough_still_give_weights(shapes, num_far):
    gap = np.concatenate([np.arange(3), np.full(num_far, 30)])
    for chosen, weights in (
        rank_lip_references(shapes[: len(gap)], shapes[50], gap, 4),
        rank_face_references(gap, 2),
    ):
        assert np.isfinite(weights).all() and len(chosen) == len(weights)
        if num_far:
            assert gap[chosen[weights.argmax()]] == 30


def test_bounce_goes_back_and_forth():
    assert bounce(4, 11).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert bounce(1, 3).tolist() == [0, 0, 0]


def test_loop_starts_again_and_hold_stands_still():
    assert loop(4, 6).tolist() == [0, 1, 2, 3, 0, 1]
    assert hold(4, 6).tolist() == [0, 1, 2, 3, 3, 3]


@pytest.mark.parametrize("length", ["video", "audio", "loop", "hold"])
@pytest.mark.parametrize("audio_s", [0.2, 3.1])
def test_frames_are_read_in_the_order_of_the_timeline(tmp_path, length, audio_s):
    clip = write_clip(tmp_path / "clip.mp4", num_frames=7)
    images = [frame.image for frame in read_frames(clip)]
    timeline = plan_timeline(np.arange(7) / 25, np.arange(7) * 512, audio_s, length)
    read = list(read_in_order(clip, timeline))
    np.testing.assert_array_equal(read, [images[i] for i in timeline.order])


def test_timeline_keeps_or_fills_the_time():
    times, pts = np.arange(10) / 25, np.arange(10) * 512
    kept = plan_timeline(times, pts, 9.0, "video")
    np.testing.assert_array_equal(kept.order, np.arange(10))
    filled = plan_timeline(times, pts, 1.0, "audio")
    assert len(filled.order) == 25
    np.testing.assert_allclose(np.diff(filled.times), 1 / 25)
    np.testing.assert_array_equal(np.diff(filled.pts), 512)
    assert len(plan_timeline(times, pts, 0.2, "audio").order) == 5


def test_references_without_any_say_are_left_out_whatever_the_scale():
    log_weights = np.log(np.array([0.5, 1e-9, 0.004, 0.3])) - 40
    assert counting(log_weights).tolist() == [0, 2, 3]


def test_banks_of_large_faces_are_smaller_so_that_they_fit_in_memory():
    def affines(size):
        return np.array([[[96 / size, 0, 3], [0, 96 / size, 5]]] * 3, np.float32)  # the IOD is so many px

    assert bank_sizes(affines(100)) == (LIP_BANK_SIZE, FACE_BANK_SIZE)
    for size in (600, 800, 1000):
        lip, face = bank_sizes(affines(size))
        assert MIN_LIP_BANK <= lip <= LIP_BANK_SIZE and MIN_FACE_BANK <= face < FACE_BANK_SIZE
        assert (lip + face) * 192 * 160 * (size / 96) ** 2 <= 1.01 * BANK_PIXELS
    assert bank_sizes(affines(3000)) == (MIN_LIP_BANK, MIN_FACE_BANK)
