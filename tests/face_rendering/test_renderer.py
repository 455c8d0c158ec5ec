"""Stage 2: what it starts from, what must not matter, what it must not see, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from personatalk.face_rendering.attention import References, Sample, sample_maps, sample_pixels, spread_out
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.renderer import DualAttentionRenderer, Target, join

TINY = RendererConfig(dim=8, widths=(8, 16, 16), num_lip_references=3, num_face_references=2)
HEIGHT, WIDTH = 32, 48


def make_references(model: DualAttentionRenderer, count: int, seed: int) -> References:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(1, count, 3, HEIGHT, WIDTH, generator=generator)
    maps = torch.rand(1, count, 8, HEIGHT // 4, WIDTH // 4, generator=generator)
    x, y = torch.meshgrid(torch.arange(WIDTH) + 0.5, torch.arange(HEIGHT) + 0.5, indexing="xy")
    grids = torch.stack([x, y], -1).expand(1, count, HEIGHT, WIDTH, 2) + torch.randn(
        1, count, 1, 1, 2, generator=generator
    )
    features = model.encode_references(images[0], maps[0])[None]
    return References(
        features=features, images=images, grids=grids, log_weights=torch.randn(1, count, generator=generator)
    )


def make_target() -> Target:
    generator = torch.Generator().manual_seed(9)
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., 8:28, 12:36] = 1
    image = torch.rand(1, 3, HEIGHT, WIDTH, generator=generator) * (mask == 0)
    return Target(image=image, mask=mask, geometry=torch.rand(1, 8, HEIGHT // 4, WIDTH // 4, generator=generator))


def stir(model: DualAttentionRenderer) -> DualAttentionRenderer:
    """Give the layers that start at zero something to say."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize("attention", ["anchored", "dense"])
def test_order_of_references_does_not_matter(attention):
    model = stir(DualAttentionRenderer(replace(TINY, attention=attention)))
    lip, face = make_references(model, 3, 1), make_references(model, 2, 2)
    order = torch.tensor([2, 0, 1])
    shuffled = References(
        features=lip.features[:, order], images=lip.images[:, order], grids=lip.grids[:, order],
        log_weights=lip.log_weights[:, order],
    )  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(model(make_target(), shuffled, face).faces, model(make_target(), lip, face).faces)


def test_untrained_anchored_attention_is_the_warp_through_the_mesh():
    model = DualAttentionRenderer(replace(TINY, has_colour_transfer=False)).eval()
    lip, face = make_references(model, 3, 1), make_references(model, 2, 2)
    with torch.no_grad():
        texture = model(make_target(), lip, face).lip.texture
    grid = 2 * lip.grids[0] / torch.tensor([WIDTH, HEIGHT]) - 1
    warped = F.grid_sample(lip.images[0], grid, padding_mode="border", align_corners=False)
    expected = (warped * torch.softmax(lip.log_weights[0], 0)[:, None, None, None]).sum(0)
    torch.testing.assert_close(texture[0], expected, atol=1e-5, rtol=1e-5)


def test_a_shunned_reference_has_no_say():
    model = stir(DualAttentionRenderer(TINY))
    lip, face = make_references(model, 3, 1), make_references(model, 2, 2)
    lip.log_weights[0, 1] = -1e4
    changed = replace(lip, images=lip.images.clone(), features=lip.features.detach().clone())
    changed.images[0, 1] = torch.rand(3, HEIGHT, WIDTH)
    changed.features[0, 1] += 1
    with torch.no_grad():
        torch.testing.assert_close(model(make_target(), changed, face).faces, model(make_target(), lip, face).faces)


def test_weights_sum_to_one_and_offsets_stay_within_reach():
    model = stir(DualAttentionRenderer(TINY))
    with torch.no_grad():
        rendering = model(make_target(), make_references(model, 3, 1), make_references(model, 2, 2))
    torch.testing.assert_close(rendering.lip.weights.sum(1), torch.ones_like(rendering.lip.weights[:, 0]))
    assert rendering.lip.offsets.abs().max() <= TINY.max_offset_px


def test_sampling_at_pixel_centres_gives_the_pixels():
    images = torch.rand(2, 3, 5, 7)
    x, y = torch.meshgrid(torch.arange(7) + 0.5, torch.arange(5) + 0.5, indexing="xy")
    positions = torch.stack([x, y]).expand(2, 2, 5, 7)
    torch.testing.assert_close(sample_pixels(images, positions), images, atol=1e-5, rtol=1e-5)


def test_maps_are_sampled_as_pixels_are():
    maps, positions = torch.randn(2, 3, 5, 6, 7), 20 * torch.rand(6, 2, 8, 9) - 6  # some lie outside
    expected = sample_pixels(maps.flatten(0, 1), positions).unflatten(0, (2, 3))
    torch.testing.assert_close(sample_maps(maps, positions), expected, atol=1e-5, rtol=1e-5)


def test_a_layer_over_parts_is_the_layer_over_all_of_them_joined():
    layer, pixels, maps = torch.nn.Conv2d(3 * 16 + 5, 7, 1), torch.randn(2, 3, 16, 24), torch.randn(2, 5, 4, 6)
    expected = layer(torch.cat([F.pixel_unshuffle(pixels, 4), maps], 1))
    torch.testing.assert_close(join(layer, pixels, maps), expected, atol=1e-5, rtol=1e-5)


def test_queries_meet_references_as_if_joined():
    attention = stir(DualAttentionRenderer(TINY)).lip_attention
    query, seen = torch.randn(2, 8, 4, 6), torch.randn(2, 3, 8, 4, 6)
    with torch.no_grad():
        both = torch.cat([query[:, None].expand_as(seen), seen], 2)
        expected = attention.pair(both.flatten(0, 1)).unflatten(0, (2, 3))
        torch.testing.assert_close(attention._pair(query, seen), expected, atol=1e-5, rtol=1e-5)


def test_the_residual_of_a_place_is_the_mean_over_its_pixels():
    decoder = stir(DualAttentionRenderer(TINY)).decoder
    fine = torch.randn(2, 8, 8, 12)
    with torch.no_grad():
        pixels = F.pixel_shuffle(decoder.leave(fine), 4)
        residual, lean = decoder._leave(fine).split((3, 16), 1)
    torch.testing.assert_close(residual, F.avg_pool2d(pixels[:, :3], 4), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(F.pixel_shuffle(lean, 4), pixels[:, 3:], atol=1e-5, rtol=1e-5)


def test_references_that_were_not_looked_at_get_no_weight():
    sample = Sample(
        texture=torch.rand(1, 3, 8, 8), features=torch.rand(1, 4, 2, 2), weights=torch.rand(1, 2, 2, 2),
        offsets=torch.rand(1, 2, 2, 2, 2),
    )  # fmt: skip
    spread = spread_out(sample, np.array([3, 1]), 4)
    assert torch.equal(spread.weights[:, [3, 1]], sample.weights) and not spread.weights[:, [0, 2]].any()
    assert torch.equal(spread.offsets[:, [3, 1]], sample.offsets) and not spread.offsets[:, [0, 2]].any()


def test_renderer_overfits_one_batch():
    torch.manual_seed(3)
    model = DualAttentionRenderer(TINY)
    lip, face = make_references(model, 3, 1), make_references(model, 2, 2)
    lip = replace(lip, features=lip.features.detach())
    face = replace(face, features=face.features.detach())
    truth = F.interpolate(torch.rand(1, 3, 4, 6), size=(HEIGHT, WIDTH), mode="bilinear")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def loss() -> torch.Tensor:
        return (model(make_target(), lip, face).faces - truth).square().mean()

    before = loss().item()
    for _ in range(200):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.1 * before


def test_unknown_attention_is_refused():
    with pytest.raises(ValueError, match="sparse"):
        RendererConfig(attention="sparse")
