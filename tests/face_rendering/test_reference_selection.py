"""Reference selection: coverage beats chance, near frames are shunned, nothing jumps; and the output's timeline."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import write_clip
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.reference_selection import (
    ANY_LIGHT,
    BANK_PIXELS,
    FACE_BANK_SIZE,
    LIP_BANK_SIZE,
    MIN_FACE_BANK,
    MIN_GAP_S,
    MIN_LIP_BANK,
    active_references,
    bank_sizes,
    choose_candidates,
    gap_weight,
    rank_face_references,
    rank_lip_references,
    rank_references,
    select_lip_references,
    self_occlusion,
)
from personatalk.geometry.face_geometry import FaceGeometry
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_aperture, lip_descriptors
from personatalk.media import read_frames
from personatalk.media.timeline import bounce, hold, loop, plan_timeline, read_in_order


@pytest.fixture
def shapes() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)


def test_references_are_lit_like_the_target_unless_too_few_are():
    model = FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors")
    random, light = np.random.default_rng(0), np.repeat((0, 1, 2), (50, 40, 10))
    geometry = FaceGeometry(
        template=model.mean, expression=random.normal(size=(100, len(model.expression_basis))).astype(np.float32) * 0.1,
        rotation=np.tile(np.eye(3, dtype=np.float32), (100, 1, 1)), translation=np.full((100, 2), 100.0, np.float32),
        scale=np.full(100, 60.0, np.float32), valid=np.ones(100, bool), times=np.arange(100) / 25, light=light,
    )  # fmt: skip
    targets = lip_descriptors(model.vertices(model.mean, geometry.expression), model.mean, geometry.rotation)
    candidates = choose_candidates(geometry, FaceMesh(model), targets)
    assert candidates.lights.tolist() == [0] * 50 + [1] * 40 + [ANY_LIGHT] * 10
    config = RendererConfig(num_lip_references=6, num_face_references=4)
    for frame, allowed in ((20, {0}), (70, {1}), (95, {0, 1, 2})):
        found = rank_references(
            candidates, config, targets[frame], geometry.rotation[frame], frame / 25, light=candidates.lights[frame]
        ).active()
        assert len(found.lip_frames) and len(found.face_frames)
        assert set(light[[*found.lip_frames, *found.face_frames]]) <= allowed


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
    chosen = select_lip_references(
        np.zeros((50, 2)), np.zeros((1, 2)), 5, strategy="paper", aperture=lip_aperture(vertices)
    )
    assert {0.0, 49.0} <= set(vertices[chosen, 14, 1])


@pytest.mark.parametrize("strategy", ["coverage", "paper", "random", "nearest"])
def test_no_frame_is_chosen_twice(shapes, strategy):
    aperture = np.random.default_rng(1).normal(size=120)
    chosen = select_lip_references(shapes, shapes, 12, strategy=strategy, aperture=aperture)
    assert len(set(chosen)) == 12


def test_near_frames_have_no_weight(shapes):
    gap = np.abs(np.arange(120) - 60) / 25
    for chosen, weights in (
        rank_lip_references(shapes, shapes[60], gap, 5),
        rank_face_references(gap, 2),
    ):
        near = gap[chosen] < MIN_GAP_S - 1e-6
        assert not near.any() or (weights[near] < -15).all()


@pytest.mark.parametrize("fps", [12.0, 23.976, 25.0, 50.0, 60.0, 120.0])
def test_the_gap_is_a_time_at_every_frame_rate(fps):
    gap = np.abs(np.arange(400) - 200) / fps
    weight = gap_weight(gap)
    assert (weight[gap < MIN_GAP_S - 2e-3] == 0).all() and (weight[gap > 0.45] == 1).all()
    assert weight[gap >= MIN_GAP_S].min() > 0


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


def turned(*degrees: float) -> np.ndarray:
    return Rotation.from_euler("y", np.array(degrees)[:, None], degrees=True).as_matrix().astype(np.float32)


@pytest.fixture(scope="module")
def mouth_normals() -> np.ndarray:
    mesh = FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))
    return mesh.mouth_normals(mesh.face_model.mean)


def test_the_skin_around_the_mouth_looks_at_the_camera(mouth_normals):
    assert np.linalg.norm(mouth_normals, axis=1) == pytest.approx(1, abs=1e-4)
    assert np.median(mouth_normals[:, 2]) > 0.7  # z away from the camera, normals into the head
    assert (mouth_normals[:, 2] > 0).all()


def test_a_mouth_is_hidden_where_the_head_was_turned_away_and_nothing_is_hidden_from_a_turned_one(mouth_normals):
    degrees = (0, 20, 40, 60, 80, 100)
    from_the_front = self_occlusion(mouth_normals, turned(*degrees), turned(0)[0])
    assert from_the_front[0] == 0 and from_the_front[-1] > 0.5
    assert (np.diff(from_the_front) >= 0).all()
    assert self_occlusion(mouth_normals, turned(*degrees), turned(60)[0])[:4] == pytest.approx(0, abs=0.02)
    assert self_occlusion(mouth_normals, turned(-50), turned(50)[0]) > 0.2
    assert self_occlusion(mouth_normals, turned(0, 90), turned(180)[0]).tolist() == [0, 0]


def test_references_that_hide_the_mouth_stand_back(shapes):
    mouths, far, hidden = 0.05 * shapes, np.full(120, 1000), np.zeros(120)
    chosen, _ = rank_lip_references(mouths, mouths[60], far, 3, hidden)
    hidden[chosen] = 1
    others, _ = rank_lip_references(mouths, mouths[60], far, 3, hidden)
    assert not set(chosen) & set(others)
    # better than none
    assert set(chosen) == set(rank_lip_references(mouths, mouths[60], far, 3, np.ones(120))[0])


@pytest.mark.parametrize("num_far", [0, 1, 2, 9])
def test_few_or_no_references_far_enough_still_give_weights(shapes, num_far):
    gap = np.concatenate([np.arange(3) / 25, np.full(num_far, 1.2)])
    for chosen, weights in (
        rank_lip_references(shapes[: len(gap)], shapes[50], gap, 4),
        rank_face_references(gap, 2),
    ):
        assert np.isfinite(weights).all() and len(chosen) == len(weights)
        if num_far:
            assert gap[chosen[weights.argmax()]] == 1.2


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
    assert active_references(log_weights).tolist() == [0, 2, 3]


def test_banks_of_large_faces_are_smaller_so_that_they_fit_in_memory():
    def affines(size):
        return np.array([[[96 / size, 0, 3], [0, 96 / size, 5]]] * 3, np.float32)  # the IOD is so many px

    assert bank_sizes(affines(100)) == (LIP_BANK_SIZE, FACE_BANK_SIZE)
    for size in (600, 800, 1000):
        lip, face = bank_sizes(affines(size))
        assert MIN_LIP_BANK <= lip <= LIP_BANK_SIZE and MIN_FACE_BANK <= face < FACE_BANK_SIZE
        assert (lip + face) * 192 * 160 * (size / 96) ** 2 <= 1.01 * BANK_PIXELS
    assert bank_sizes(affines(3000)) == (MIN_LIP_BANK, MIN_FACE_BANK)
