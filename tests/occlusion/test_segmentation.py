"""Things in front of the mouth: found where they are drawn, left as they are, and never a mouth by itself."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from occluded_scene import drawn_over, example_scene, windows_of

from personatalk.evaluation.geometry.occlusion import occluder_figures
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import MIN_CLEAR_FRAMES, choose_candidates, clear_frames
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.mouth import lip_descriptors
from personatalk.media import Frame
from personatalk.occlusion.appearance import ColourWindows
from personatalk.occlusion.segmentation import Occlusion, filter_over_time, find_occlusion, soften

SAME = np.eye(2, 3, dtype=np.float32)


@pytest.fixture(scope="module")
def scene():
    """The example's mesh, geometry and pictures."""
    return example_scene()


def look_for(scene, images):
    mesh, geometry, _ = scene
    return find_occlusion(geometry, windows_of(geometry, images), mesh)


@pytest.fixture(scope="module")
def cup(scene):
    """The example with a cup drawn over its mouth: the cup, the pictures, and what is found."""
    thing, images = drawn_over(scene, "cup")
    return thing, images, look_for(scene, images)


def test_nothing_is_found_where_nothing_is(scene):
    occlusion = look_for(scene, scene[2])
    assert not occlusion.masks and not occlusion.share.any()


def test_a_cup_is_found_where_it_is_and_while_it_is_there(scene, cup):
    thing, _, occlusion = cup
    figures = occluder_figures(scene[1], occlusion, scene[0], thing)
    assert figures["iou"] > 0.8
    assert figures["missed_frames"] == 0
    assert figures["false_share_%"] == 0


def test_a_microphone_is_found(scene):
    thing, images = drawn_over(scene, "microphone")
    figures = occluder_figures(scene[1], look_for(scene, images), scene[0], thing)
    assert figures["iou_where_found"] > 0.7
    assert figures["missed_frames"] < 0.3


def test_a_hand_of_the_face_s_own_colour_is_known_by_its_shape(scene):
    """No pixel tells of it here: the pictures are as they were."""
    mesh, geometry, images = scene
    windows = windows_of(geometry, images)
    hands, places = {}, {}
    for frame in range(30, 45):
        middle = geometry.project(geometry.template[[13, 14]].mean(0)[None, None], slice(frame, frame + 1))[0, 0, :2]
        finger = np.linspace((0.1, 1.2), (0, 0), 21) * geometry.scale[frame]  # from below up to the lips
        hands[frame], places[frame] = (middle + finger)[None].astype(np.float32), middle
    occlusion = find_occlusion(geometry, windows, mesh, hands=hands)
    assert sorted(occlusion.masks) == list(range(30, 45))
    assert occlusion.is_occluded[30:45].all() and not occlusion.is_occluded[:30].any()
    hidden = occlusion.on_crop(35, SAME, *images[35].shape[:2])
    x, y = places[35].round().astype(int)
    assert hidden[y, x] > 0.9 and hidden[y, x + 20] < 0.1
    away = {frame: hand + np.float32((150, 0)) for frame, hand in hands.items()}
    assert not find_occlusion(geometry, windows, mesh, hands=away).masks  # beside the face it hides nothing


def paint_lips(scene, images, frames, colour):
    """Paint over the whole mouth, as wide as it may open."""
    _, geometry, _ = scene
    painted = [image.copy() for image in images]
    for frame in frames:
        lips = geometry.project(geometry.template[[0, 17, 61, 291]][None], slice(frame, frame + 1))[0, :, :2]
        centre, scale = lips.mean(0), geometry.scale[frame]
        axes = (int(0.24 * scale), int(0.13 * scale))
        cv2.ellipse(painted[frame], tuple(int(c) for c in centre), axes, 0, 0, 360, colour, -1)
    return painted


@pytest.mark.parametrize("colour", [(10, 5, 5), (240, 240, 230), (20, 250, 20)])
def test_a_mouth_alone_is_never_an_occluder(scene, colour):
    """Not even one such as nobody has: an occluder begins on the skin away from the lips."""
    assert not look_for(scene, paint_lips(scene, scene[2], range(30, 45), colour)).masks


def test_the_mouth_beside_an_occluder_does_not_change_it(scene):
    """A bar over the chin: with other mouths above it the same is hidden."""
    thing, images = drawn_over(scene, "caption")
    there = [frame for frame in range(len(images)) if thing.presence(frame)]
    first = look_for(scene, images)
    others = paint_lips(scene, images, there[::2], (25, 10, 12))
    for frame, image in enumerate(others):
        thing.draw_at(frame, image)
    second = look_for(scene, others)
    assert set(first.masks) == set(second.masks) >= set(there[2:-2])
    change = [np.abs(first.mask(f).astype(float) - second.mask(f)).mean() / 255 for f in there[2:-2]]
    assert max(change) < 0.02


def dub(scene, images, occlusion, position):
    mesh, geometry, _ = scene
    torch.manual_seed(0)
    config = RendererConfig(dim=8, widths=(8, 8, 8), num_lip_references=3, num_face_references=2)
    model = DualAttentionRenderer(config).eval()
    vertices = mesh.face_model.vertices(geometry.template, 0.8 * geometry.expression)
    demanded = lip_descriptors(vertices, geometry.template, geometry.rotation)
    references = ReferenceBank(
        mesh, geometry, choose_candidates(geometry, mesh, demanded, is_occluded=occlusion.is_occluded)
    )
    frames = (
        Frame(index=i, time=i / 25, pixels=image, pts=i, time_base=Fraction(1, 25)) for i, image in enumerate(images)
    )
    references.gather(frames, model)
    clip = ClipRenderer(model, mesh, geometry, vertices, references, occlusion=occlusion)
    return references, clip.render(position, images[position]).image


def test_hidden_pixels_are_left_as_they_are(scene, cup):
    _, images, occlusion = cup
    position = int(occlusion.share.argmax())
    _, result = dub(scene, images, occlusion, position)
    front = occlusion.on_crop(position, SAME, *result.shape[:2])
    mesh, geometry, _ = scene
    projected = mesh.project(geometry.pose(position, geometry.template, SAME))
    inside = mesh.mask(projected, geometry.template, *result.shape[:2]) > 0.5
    assert (inside & (front == 1)).sum() > 500
    assert np.array_equal(result[front == 1], images[position][front == 1])
    assert (result != images[position]).any(-1)[inside & (front == 0)].mean() > 0.5


def test_references_show_the_whole_face(scene, cup):
    _, images, occlusion = cup
    references, _ = dub(scene, images, occlusion, 0)
    assert not occlusion.is_occluded[sorted(references.candidates.frames)].any()
    assert occlusion.is_occluded.any()


def test_where_too_few_frames_are_clear_all_serve():
    frames, share = np.arange(60), np.zeros(60, np.float32)
    share[MIN_CLEAR_FRAMES:] = 0.5
    some = Occlusion(window_from_image=np.zeros((60, 2, 3), np.float32), masks={}, share=share)
    assert np.array_equal(clear_frames(frames, some.is_occluded), np.arange(MIN_CLEAR_FRAMES))
    share[0] = 0.5
    assert np.array_equal(clear_frames(frames, replace(some, share=share).is_occluded), frames)
    assert np.array_equal(clear_frames(frames, None), frames)


def test_a_mask_comes_back_where_it_was(scene):
    _, geometry, images = scene
    window_from_image = ColourWindows(geometry).window_from_image
    hidden = np.zeros((80, 96), bool)
    hidden[30:50, 40:70] = True
    masks = {3: cv2.imencode(".png", soften(hidden))[1].tobytes()}
    occlusion = Occlusion(window_from_image=window_from_image, masks=masks, share=np.zeros(len(geometry), np.float32))
    on_image = occlusion.on_crop(3, SAME, *images[0].shape[:2])
    corners = np.array([(40, 30, 1), (70, 50, 1)], float)
    image_from_window = np.linalg.inv(np.vstack([window_from_image[3], (0, 0, 1)]))
    (left, top), (right, bottom) = (corners @ image_from_window.T)[:, :2]
    rows, columns = np.nonzero(on_image == 1)
    assert abs(columns.min() - left) < 3 and abs(columns.max() - right) < 3
    assert abs(rows.min() - top) < 3 and abs(rows.max() - bottom) < 3
    assert occlusion.on_crop(4, SAME, 10, 10) == 0


def test_single_frames_are_filled_or_forgotten():
    mask = np.ones((80, 96), bool)
    calmed = filter_over_time({5: mask, 6: mask, 8: mask, 20: mask, 30: mask, 31: mask}, 3)
    assert sorted(calmed) == [5, 6, 7, 8]
    assert filter_over_time({}, 3) == {}
