"""Colour transfer: differences around the mask are carried inwards, other things are left out; the prior's pull."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from personatalk.face_rendering.colour_transfer import PRIOR_TRUST, ColourTransfer, PriorBlend, fill_inwards, soften
from personatalk.face_rendering.config import RendererConfig

HEIGHT, WIDTH = 64, 96


def match_illumination(image: torch.Tensor, texture: torch.Tensor) -> torch.Tensor:
    known = torch.ones(1, 1, HEIGHT, WIDTH)
    known[..., 16:48, 24:72] = 0
    fill = ColourTransfer(RendererConfig(dim=8))
    face = torch.ones(1, 1, HEIGHT // 4, WIDTH // 4)
    query = torch.zeros(1, 8, HEIGHT // 4, WIDTH // 4)
    with torch.no_grad():
        return fill(image * known, known, face, query=query, texture=texture)


def test_an_even_change_of_light_is_carried_into_the_hole():
    texture = 0.3 + 0.2 * torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    change = torch.tensor([0.05, 0.02, -0.04])[None, :, None, None]
    light = match_illumination(texture + change, texture)
    torch.testing.assert_close(light, change.expand_as(light), atol=2e-3, rtol=0)


def test_a_slope_of_light_is_followed():
    texture = torch.full((1, 3, HEIGHT, WIDTH), 0.4)
    slope = torch.linspace(-0.06, 0.06, WIDTH).expand(1, 3, HEIGHT, WIDTH)
    light = match_illumination(texture + slope, texture)
    error = light - F.avg_pool2d(slope, 4)
    assert error.abs().mean() < 0.015  # without the fill: 0.03
    assert light[..., 8, 6].mean() < -0.01 < 0.01 < light[..., 8, 17].mean()


def test_something_in_the_way_is_not_taken_for_light():
    texture = torch.full((1, 3, HEIGHT, WIDTH), 0.4)
    image = texture.clone()
    image[..., :, 76:] = 0.95  # a hand beside the mouth
    light = match_illumination(image, texture)
    assert light[..., 6:10, 8:16].abs().max() < 0.01


def test_without_a_difference_nothing_is_added():
    texture = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    assert match_illumination(texture, texture).abs().max() < 1e-6


def test_where_nothing_is_known_nothing_is_added():
    filled = fill_inwards(torch.ones(1, 3, 16, 24), torch.zeros(1, 1, 16, 24))
    assert filled.abs().max() == 0


def pull(prior: torch.Tensor, texture: torch.Tensor) -> torch.Tensor:
    config = RendererConfig(dim=8)
    with torch.no_grad():
        return PriorBlend(config)(
            prior, query=torch.zeros(1, 8, HEIGHT // 4, WIDTH // 4), halved=F.avg_pool2d(texture, 2)
        )


def predicted(colours: torch.Tensor) -> torch.Tensor:
    return torch.cat([colours, torch.ones_like(colours[:, :1]), torch.zeros_like(colours[:, :1])], 1)


def test_a_sample_is_drawn_to_what_was_predicted_as_far_as_that_is_trusted():
    texture = torch.full((2, 3, HEIGHT, WIDTH), 0.4)
    prior = predicted(torch.full((1, 3, HEIGHT // 2, WIDTH // 2), 0.5))
    torch.testing.assert_close(pull(prior, texture), torch.full((2, 3, HEIGHT // 2, WIDTH // 2), 0.1 * PRIOR_TRUST[0]))


def test_where_nothing_was_predicted_a_sample_stays():
    texture = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    assert not pull(torch.zeros(1, 5, HEIGHT // 2, WIDTH // 2), texture).any()


def test_a_sample_that_is_as_predicted_stays():
    texture = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))
    prior = predicted(soften(F.avg_pool2d(texture, 2)))
    assert pull(prior, texture).abs().max() < 1e-6
