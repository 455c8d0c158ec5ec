"""Stage 2's evaluation: who may look at what, what is painted, and the figures."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda
from window_clips import pictures, tiny_renderer, window_clip

from personatalk import metrics
from personatalk.checkpoints import DEFAULT_FOLDER
from personatalk.evaluation.rendering.baselines import baselines, pick_nearest, pick_other, smooth_over_time, warp_frame
from personatalk.evaluation.rendering.judging import Judges, RunTruth, fill_chip, lip_mask, put_into
from personatalk.evaluation.rendering.renderers import without
from personatalk.evaluation.rendering.repainting import are_far, rank_run, renderer_method
from personatalk.evaluation.rendering.windows import (
    MethodOutput,
    allowed_references,
    choose_runs,
    masks_of,
    shared_references,
)
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import MIN_GAP_S, choose_candidates
from personatalk.geometry.face_model import FaceModel, HeadVertices
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import lip_descriptors
from personatalk.media import Frame
from personatalk.persons.embedding import chip_from_image

MIN_GAP = round(25 * MIN_GAP_S)  # frames at 25 Hz


@pytest.fixture(scope="module")
def mesh():
    return FaceMesh(FaceModel.load(DEFAULT_FOLDER / "face_model.safetensors"))


@pytest.fixture(scope="module")
def judges():
    return Judges.load(DEFAULT_FOLDER)


def shown(valid: np.ndarray, fps: float = 25.0) -> SimpleNamespace:
    """What choosing frames to judge needs of a geometry."""
    return SimpleNamespace(valid=valid, times=np.arange(len(valid)) / fps)


@pytest.mark.parametrize(("fps", "least"), [(25.0, 8), (50.0, 16), (60.0, 20), (23.976, 8)])
def test_each_frame_may_look_at_what_lies_a_third_of_a_second_from_itself(fps, least):
    geometry = shown(np.ones(160, bool), fps)
    runs = choose_runs(geometry)
    assert len(runs) == 2
    for run in runs:
        for frame in run:
            gaps = allowed_references(geometry, frame) - frame
            assert gaps[gaps > 0].min() == least == -gaps[gaps < 0].max()
        assert np.abs(shared_references(geometry, run)[:, None] - run).min() == least
    assert choose_runs(shown(np.ones(20, bool))) == []


def test_runs_are_of_frames_that_follow_one_another_and_show_the_face():
    valid = np.ones(80, bool)
    valid[21] = False
    (run,) = choose_runs(shown(valid))
    assert (np.diff(run) == 1).all()
    assert run[0] > 40


def test_baselines_look_no_nearer(mesh):
    clip, run = window_clip(mesh, 1), np.arange(30, 36)
    for pick in (pick_nearest, pick_other):
        assert np.abs(pick(clip, run, clip.head_vertices[run]) - run).min() >= MIN_GAP
    others = np.setdiff1d(np.arange(75), np.arange(30 - MIN_GAP + 1, 36 + MIN_GAP - 1))
    before = {name: paint(clip, run).images.copy() for name, paint in baselines(mesh).items()}
    clip.images[others] = 0
    changed = [not np.array_equal(paint(clip, run).images, before[name]) for name, paint in baselines(mesh).items()]
    assert all(changed)


def test_a_frame_warped_to_its_own_geometry_is_itself_and_a_moved_face_moves(mesh):
    clip = window_clip(mesh, 2)
    own, (mask,) = warp_frame(clip, 0, clip.projected[0], mesh), masks_of(clip, np.array([0]), mesh)
    assert np.abs(own.astype(int) - clip.images[0])[mask > 0].max() <= 8  # interpolation in steps of 1/32 px
    moved, inside = warp_frame(clip, 0, clip.projected[0] + np.float32((5, 0, 0)), mesh), np.roll(mask > 0, 5, axis=1)
    assert np.abs(moved.astype(int) - np.roll(clip.images[0], 5, axis=1))[inside].mean() < 3


def test_what_is_painted_stays_inside_the_mask(mesh):
    clip = window_clip(mesh, 2)
    masks = masks_of(clip, np.arange(2), mesh)
    painted = put_into(clip.images[:2], np.full_like(clip.images[:2], 200), masks)
    assert np.array_equal(painted[masks == 0], clip.images[:2][masks == 0])
    assert (painted[masks == 1] == 200).all()
    lips = np.stack([lip_mask(projected, *masks.shape[1:]) for projected in clip.projected[:2]])
    assert masks[lips].mean() > 0.99


def test_the_nearest_frame_has_the_same_lips(mesh):
    clip = window_clip(mesh, 3)
    clip.head_vertices[60] = clip.head_vertices[10]
    clip.head_vertices[12] = clip.head_vertices[10]  # too near in time
    run = np.array([10])
    assert pick_nearest(clip, run, clip.head_vertices[run]).tolist() == [60]


def test_smoothing_over_time_by_hand():
    images = np.array([0.0, 0.0, 4.0, 0.0])[:, None, None, None]
    assert smooth_over_time(images)[:, 0, 0, 0].tolist() == [0, 1, 2, 1]


def test_other_mouths_are_rendered_where_the_target_geometry_says_so(mesh):
    clip, run, model = window_clip(mesh, 5), np.array([40]), tiny_renderer()
    own = renderer_method(model, mesh)(clip, run).images
    same = renderer_method(model, mesh, target_geometry=lambda c: c.head_vertices.copy())(clip, run).images
    assert np.array_equal(same, own)
    opened = renderer_method(model, mesh, target_geometry=lambda c: c.head_vertices + np.float32(0.05))(
        clip, run
    ).images
    assert np.abs(opened - own).max() > 1
    assert renderer_method(model, mesh, target_geometry=lambda c: None)(clip, run) is None


@pytest.mark.parametrize("attention", ["anchored", "dense"])
def test_the_true_mouth_never_reaches_what_is_rendered(mesh, attention):
    """Other pixels under the target's mask, and in the frames beside it, change nothing; in references they do."""
    clip, run, model = window_clip(mesh, 4), np.array([40]), tiny_renderer(attention)

    def render():
        clip.kept.clear()
        return renderer_method(model, mesh)(clip, run).images

    before = render()
    hidden = masks_of(clip, run, mesh)[0] > 0
    clip.images[40][hidden] = 255 - clip.images[40][hidden]
    clip.images[33:40] = 255 - clip.images[33:40]
    clip.images[41:48] = 255 - clip.images[41:48]
    np.testing.assert_allclose(render(), before, atol=0.01)  # of 255; the prior's sums are rounded
    allowed = allowed_references(clip.geometry, 40)
    clip.images[allowed] = 255 - clip.images[allowed]
    assert np.abs(render() - before).max() > 1


def test_what_is_judged_is_what_a_dub_renders(mesh):
    """Six frames at once, from windows, give what the dub's own way over full frames gives one by one."""
    clip, model, run = window_clip(mesh, 6), tiny_renderer(), np.arange(34, 40)
    images, geometry = pictures(6), clip.geometry
    vertices = HeadVertices(mesh.face_model, geometry.template, geometry.expression)
    demanded = lip_descriptors(vertices, geometry.template, geometry.rotation)[geometry.valid]
    references = ReferenceBank(mesh, geometry, choose_candidates(geometry, mesh, demanded))
    frames = (Frame(index=i, time=i / 25, pixels=images[i], pts=i, time_base=Fraction(1, 25)) for i in range(75))
    references.gather(frames, model)
    dub = ClipRenderer(model, mesh, geometry, vertices, references)
    painted = renderer_method(model, mesh)(clip, run)
    for row, frame in enumerate(run.tolist()):
        rendered = dub.render(frame, images[frame])
        assert rendered.lip_frames.tolist() == painted.lip_frames[row].tolist()
        assert rendered.face_frames.tolist() == painted.face_frames[row].tolist()
        faces = rendered.rendering.faces[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
        np.testing.assert_allclose(painted.images[row], faces, atol=0.1)


def test_nothing_is_painted_where_all_references_lie_too_near(mesh):
    clip, model, run = window_clip(mesh, 7), tiny_renderer(), np.array([40])
    ranks = rank_run(model, clip, mesh, clip.head_vertices, run, strategy="coverage")
    assert are_far(clip, ranks, run)
    key = "candidates", "coverage", id(clip.head_vertices)
    candidates = clip.once(key, lambda: None)
    clip.kept[key] = replace(candidates, lip_frames=np.full(len(candidates.lip_frames), 47))
    ranks = rank_run(model, clip, mesh, clip.head_vertices, run, strategy="coverage")
    assert not are_far(clip, ranks, run)
    assert renderer_method(model, mesh)(clip, run) is None


def test_parts_that_are_taken_away_are_away_and_the_rest_is_the_same(mesh):
    clip, model, run = window_clip(mesh, 8), tiny_renderer(), np.arange(30, 32)
    whole = renderer_method(model, mesh)(clip, run).rendering
    bare = without(model, has_decoder=False, has_colour_transfer=False)
    plain = renderer_method(bare, mesh, has_texture_prior=False)(clip, run).rendering
    assert whole.residual.abs().max() > 0
    assert plain.residual.abs().max() == 0
    torch.testing.assert_close(plain.lip.weights, whole.lip.weights)
    still = renderer_method(without(model, max_offset_px=0.0), mesh)(clip, run).rendering
    assert whole.lip.offsets.abs().max() > 0.1
    assert still.lip.offsets.abs().max() == 0


def test_without_lip_references_both_layers_look_at_the_same_frames(mesh):
    clip, model, run = window_clip(mesh, 8), tiny_renderer(), np.arange(30, 32)
    painted = renderer_method(model, mesh, has_lip_references=False)(clip, run)
    assert np.array_equal(painted.lip_frames, painted.face_frames)
    own = renderer_method(model, mesh)(clip, run)
    assert np.array_equal(painted.face_frames, own.face_frames)
    assert not np.array_equal(painted.images, own.images)


def test_attention_that_changes_its_slots_has_not_changed():
    weights = np.array([[0.7, 0.3], [0.3, 0.7], [0.3, 0.7]])[:, :, None, None] * np.ones((1, 1, 2, 2))
    share = np.ones((3, 2, 2))
    assert metrics.attention_change(weights, np.array([[4, 9], [9, 4], [9, 4]]), share) == pytest.approx(0, abs=1e-6)
    assert metrics.attention_change(weights, np.array([[4, 9], [4, 9], [4, 9]]), share) == pytest.approx(0.2)
    assert metrics.attention_change(weights, np.array([[4, 9], [5, 8], [6, 7]]), share) == pytest.approx(1)
    share[:, 0] = 0  # these places do not count
    weights[:, 0, 0], weights[:, 1, 0] = np.array([0, 1, 0])[:, None], np.array([1, 0, 1])[:, None]
    assert metrics.attention_change(weights, np.array([[4, 9], [4, 9], [4, 9]]), share) == pytest.approx(0.2)


def test_offsets_are_followed_with_their_reference():
    weights, share = np.full((2, 2, 1, 1), 0.5), np.ones((2, 1, 1))
    offsets = np.zeros((2, 2, 2, 1, 1))
    offsets[0, 0, 0], offsets[1, 1, 0] = 3, 3  # of frame 4 in both
    assert metrics.offset_change(weights, offsets, np.array([[4, 9], [9, 4]]), share) == pytest.approx(0, abs=1e-6)
    assert metrics.offset_change(weights, offsets, np.array([[4, 9], [4, 9]]), share) == pytest.approx(3)


def test_true_frames_are_as_good_as_can_be_and_others_are_not(mesh, judges):
    clip, run = window_clip(mesh, 9), np.arange(30, 36)
    truth = RunTruth(clip, run, mesh, judges)
    perfect = truth.figures(MethodOutput(images=clip.images[run].astype(np.float32)))
    assert perfect["psnr_lips"] == np.inf
    assert (perfect["sharpness_lips"], perfect["seam"]) == pytest.approx((1, 1))
    assert (perfect["identity"], perfect["flicker"], perfect["lpips_lips"]) == pytest.approx((0, 0, 0), abs=1e-6)
    blurred = truth.figures(MethodOutput(images=np.stack([cv2.blur(image, (31, 31)) for image in clip.images[run]])))
    assert blurred["identity"] > 0
    assert blurred["sharpness_lips"] < 0.1
    painted = truth.figures(renderer_method(tiny_renderer(), mesh)(clip, run))
    assert 0 < painted["lip_attention_change"] < 1
    assert painted["offset_change_px"] > 0
    assert "offset_change_px" not in truth.figures(renderer_method(tiny_renderer("dense"), mesh)(clip, run))


def test_a_painted_window_comes_to_lie_on_the_face_of_its_chip(mesh):
    clip = window_clip(mesh, 10)
    clip.chips[0] = 0
    flat = replace(clip, images=np.zeros_like(clip.images))
    ramp = np.broadcast_to(np.arange(192, dtype=np.float32)[None, :, None], (160, 192, 3))
    carried = fill_chip(flat, 0, ramp)
    corners = np.array([[80.5, 60.5], [120.5, 100.5]], np.float32)
    image = (corners - clip.window[0][:, 2]) @ np.linalg.inv(clip.window[0][:, :2]).T
    affine = chip_from_image(clip.landmarks(0))
    places = image @ affine[:, :2].T + affine[:, 2]
    for (x, y), value in zip(places, (80, 120), strict=True):
        assert float(carried[int(y), int(x), 0]) == pytest.approx(value, abs=2)
    assert np.array_equal(fill_chip(clip, 1, clip.images[1]), clip.chips[1])


class CalledError(Exception):
    """The network was called."""


def test_a_renderer_computes_where_it_is(mesh):
    """On a device that computes nothing, encoder and network are called with what is there."""
    clip, run, model, seen = window_clip(mesh, 9), np.array([40]), tiny_renderer(), []

    def called(module, inputs):
        tensors = [value for part in inputs for value in vars(part).values() if value is not None]
        seen.extend(tensor.device.type for tensor in tensors)
        raise CalledError

    model.register_forward_pre_hook(called)
    with fake_cuda():
        model.to("cuda")
        with pytest.raises(CalledError):
            renderer_method(model, mesh)(clip, run)
    assert set(seen) == {"cuda"} and len(seen) > 10


def test_pictures_are_judged_where_the_networks_are(mesh):
    clip, run, judges, seen = window_clip(mesh, 9), np.arange(30, 32), Judges.load(DEFAULT_FOLDER), []
    for network in (judges.lpips.convs[0], judges.embedder):
        network.register_forward_hook(lambda module, inputs, output: seen.append(output.device.type))
    with fake_cuda():
        for network in vars(judges).values():
            network.to("cuda")
        with pytest.raises(RuntimeError, match=r"\.numpy\(\) is not supported"):  # it has no values to fetch
            RunTruth(clip, run, mesh, judges)
    assert seen == ["cuda", "cuda", "cuda"]  # lower face, lips, identity


def test_judges_are_loaded_onto_a_device():
    judges = Judges.load(DEFAULT_FOLDER, "meta")
    assert {weight.device.type for network in vars(judges).values() for weight in network.parameters()} == {"meta"}
