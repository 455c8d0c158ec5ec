from __future__ import annotations

import numpy as np
import pytest
import torch

from personatalk.face_rendering.attention import sample_pixels
from personatalk.geometry.camera import apply_affine, invert_affine, window_from_image
from personatalk.inspection.attention import (
    attention_colours,
    attention_over_time,
    attention_over_time_picture,
    attention_picture,
    frame_colours,
    mask_of,
    switching,
    trace,
    trace_pixel,
)
from personatalk.inspection.recording import SCALE
from personatalk.inspection.references import bank
from personatalk.unet import upsample

X, Y = 97.5 * SCALE, 80.5 * SCALE  # a pixel of the chin


@pytest.fixture
def t(inspection) -> int:
    return int(inspection.kept[7])


def test_the_places_of_a_pixel_sum_to_one_and_come_heaviest_first(inspection, t):
    sources = trace(inspection, t, X, Y)
    assert sum(source.weight for source in sources) == pytest.approx(1, abs=2e-3)
    weights = [source.weight for source in sources]
    assert weights == sorted(weights, reverse=True) and len(weights) == 5
    assert sum(source.weight for source in trace(inspection, t, X, Y, "lip")) == pytest.approx(1, abs=2e-3)


def test_the_same_point_of_the_face_is_traced_to_itself_in_the_reference(inspection, t):
    """Vertex 17 of the target must lie at vertex 17 of each reference, learnt step apart."""
    mesh, posed, reference = inspection.mesh, inspection.posed, inspection.reference
    place = mesh.project(posed.pose(t, inspection.driven_vertices[t], window_from_image(posed)[t]))[200, :2]
    for source in trace(inspection, t, *(place * SCALE)):
        affine = window_from_image(reference)[source.frame]
        there = mesh.project(reference.pose(source.frame, inspection.reference_vertices[source.frame], affine))[200, :2]
        found = (np.array((source.x, source.y)) - source.offset) / SCALE
        assert np.abs(found - there).max() < 1.0  # px of the window: the pixel is not exactly the vertex


def test_weight_and_step_are_read_where_the_renderer_reads_them(inspection, recorded, t):
    rendering = recorded[1][t].rendering
    gate = rendering.gate[0, 0, 80, 97].item()
    frames = recorded[1][t].lip_frames.tolist()
    for source in trace(inspection, t, X, Y):
        if source.kind == "lip" and frames.count(source.frame) == 1:
            number = frames.index(source.frame)
            weight = upsample(rendering.lip.weights, (160, 192))[0, number, 80, 97].item()
            step = upsample(rendering.lip.offsets[:, number], (160, 192))[0, :, 80, 97]
            assert source.weight == pytest.approx(weight * gate, abs=0.03)  # the gate is kept at 1/4 of the window
            np.testing.assert_allclose(source.offset, step * SCALE, atol=0.02)


def test_pixels_rebuilt_from_their_places_are_the_sample_of_the_renderer(inspection, recorded, t):
    """What the trace says, taken literally, gives the colours that Lip-Attention gave."""
    rendering = recorded[1][t].rendering
    rng, rebuilt, truth = np.random.default_rng(0), [], []
    inside = np.argwhere(mask_of(inspection, t) > 0.9)
    for row, column in rng.permutation(inside)[:60]:
        colour = np.zeros(3)
        for source in trace(inspection, t, (column + 0.5) * SCALE, (row + 0.5) * SCALE, "lip"):
            picture = torch.from_numpy(inspection.reference_picture(source.frame)).permute(2, 0, 1)[None].float()
            place = torch.tensor((source.x, source.y))[None, :, None, None]
            colour += source.weight * sample_pixels(picture, place.float())[0, :, 0, 0].numpy()
        rebuilt.append(colour)
        truth.append(rendering.lip.texture[0, :, row, column].numpy() * 255)
    assert np.corrcoef(np.ravel(rebuilt), np.ravel(truth))[0, 1] > 0.9


def test_a_pixel_of_the_source_is_traced_nowhere(inspection, t):
    assert trace(inspection, t, 5, 5) == []
    assert trace(inspection, t, 10_000, 5) == []
    ((_, text),) = trace_pixel(inspection, t, 5, 5)
    assert "the source's own" in text


def test_trace_marks_the_dub_and_every_reference_that_counts(inspection, t):
    shown = trace_pixel(inspection, t, X, Y)
    assert len(shown) > 2
    marked = (shown[0][0] != inspection.window(t)).any(-1)
    assert marked.sum() > 50 and abs(np.argwhere(marked).mean(0) - (Y, X)).max() < 2
    heaviest = trace(inspection, t, X, Y)[0]
    assert shown[1][1].startswith(f"{heaviest.weight:.0%} from {heaviest.kind} frame {heaviest.frame}")


def test_colours_are_unlike_inside_the_mask_and_grey_outside(inspection, t):
    picture = attention_colours(inspection, t)[:480].astype(int)
    colourful = picture.max(-1) - picture.min(-1)
    mask = np.kron(mask_of(inspection, t), np.ones((SCALE, SCALE)))
    assert colourful[mask == 0].max() <= 12  # a pixel at the mask's very edge
    assert colourful[mask > 0.9].mean() > 15
    colours = list(frame_colours(inspection, t).values())
    assert len(np.unique(colours, axis=0)) == len(colours)


def test_weight_maps_are_yellow_where_a_reference_gives_all(inspection, t):
    part = inspection.attention(t, "lip")
    text = attention_picture(inspection, t, "lip")
    assert text.shape[1] == 3 * 288 + 2 * 6
    try:
        original = inspection.attention
        all_first = type(part)(
            frames=part.frames, offsets=part.offsets, share=np.ones_like(part.share),
            weights=np.eye(len(part.frames))[0][:, None, None] * np.ones_like(part.weights),
        )  # fmt: skip
        inspection.attention = lambda t, kind: all_first
        picture = attention_picture(inspection, t, "lip").astype(int)
    finally:
        inspection.attention = original
    row, column = 120, 144  # the middle of a map
    heaviest, other = picture[row, column + 294], picture[row, column + 2 * 294]
    assert heaviest[0] - heaviest[2] > 60 and other[2] - other[0] > 20


def test_shares_over_time_belong_to_the_references_that_attended(inspection, recorded):
    positions, shares = attention_over_time(inspection, "lip")
    np.testing.assert_array_equal(positions, inspection.kept)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-3)
    for row, t in enumerate(positions):
        attended = np.isin(bank(inspection, "lip"), recorded[1][int(t)].lip_frames)
        assert not shares[row, ~attended].any()


def test_switching_counts_the_weight_that_moves(inspection):
    original = inspection.shares
    try:
        shares = np.zeros((len(inspection.kept), 16), np.float32)
        shares[:, 0] = 1
        inspection.shares = {"lip": shares}
        assert switching(inspection, "lip") == 0
        shares[::2, 0], shares[::2, 1] = 0, 1
        assert switching(inspection, "lip") == pytest.approx((1 / np.diff(inspection.kept)).mean())
    finally:
        inspection.shares = original


def test_the_line_over_time_moves_with_the_frame(inspection):
    assert (attention_over_time_picture(inspection, 3) != attention_over_time_picture(inspection, 50)).any()


def test_the_mask_lies_where_the_compositor_paints(inspection, recorded, t):
    """Outside of it the dub is the source, pixel for pixel."""
    source, dubbed = inspection.window(t, "source").astype(int), inspection.window(t).astype(int)
    mask = np.kron(mask_of(inspection, t), np.ones((SCALE, SCALE)))
    changed = np.abs(source - dubbed).max(-1) > 60
    assert changed[mask > 0.9].mean() > 0.72 and changed[mask <= 0.02].mean() < 0.03
    centre = apply_affine(invert_affine(window_from_image(inspection.posed)[t]), np.array(((96.0, 80.0),)))
    assert np.isfinite(centre).all()
