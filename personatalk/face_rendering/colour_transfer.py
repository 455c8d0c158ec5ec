"""Colour transfer: textures of other frames take on the target's colours, from around the mask and as predicted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personatalk.face_rendering.config import RendererConfig
from personatalk.geometry.mesh import MAP_STRIDE, PRIOR_STRIDE
from personatalk.unet import upsample, zero_parameters

FILL_LEVELS = 3  # halvings of the map in pull-push; what is left is one mean
FILL_TRUST = 0.15  # confidence at which a place's own value and its surroundings' count alike
PRIOR_TRUST = (0.8, 0.5)  # shares of the coarse and the finer difference that are taken over at the start
DIFFERENCE_GAIN = 10.0
MISFIT = 0.12  # difference from which a known place is something else (hair, hand, collar), not another illumination


class ColourTransfer(nn.Module):
    """Carry the colour difference between a sample and the target inwards, from around the mask.

    References are frames of another moment, with another head pose and so another illumination. Around the mask both
    sample and target are known; their difference there is extended smoothly into the mask, in closed form.

    Args:
        config: of the renderer.

    Ours: without it references of another illumination leave a visible patch.
    Source: pull-push, Gortler et al. 1996, "The Lumigraph".
    """

    def __init__(self, config: RendererConfig) -> None:
        super().__init__()
        self.trust = nn.Conv2d(config.dim, 2, 1)
        zero_parameters(self.trust)

    def forward(self, image: Tensor, known: Tensor, face: Tensor, *, query: Tensor, texture: Tensor) -> Tensor:
        """Compute what to add to a texture so that it has the target's colours.

        Args:
            image: [B, 3, H, W] in [0, 1], right where it is known.
            known: [B, 1, H, W] 1 where the target is known, else 0.
            face: [B, 1, h, w] 1 on the face, else 0.
            query: [B, D, h, w].
            texture: [K * B, 3, H, W] in [0, 1], of one sample after the other.

        Returns:
            [K * B, 3, h, w]
        """
        samples = texture.unflatten(0, (-1, len(image)))
        share = F.avg_pool2d(known, MAP_STRIDE)
        difference = F.avg_pool2d(((image - samples) * known).flatten(0, 1), MAP_STRIDE).unflatten(0, samples.shape[:2])
        difference = difference / share.clamp(min=1e-3)
        inside = 1 - F.max_pool2d(1 - face, 3, stride=1, padding=1)  # the mesh's own border misleads
        misfit = (difference.square().mean(2, keepdim=True) / MISFIT**2).neg().exp()
        trust, gain = self.trust(query).float().chunk(2, 1)
        confidence = share * inside * torch.exp(trust.clamp(-4, 4)) * misfit
        filled = fill_inwards(difference.flatten(0, 1), confidence.flatten(0, 1))
        return (filled.unflatten(0, samples.shape[:2]) * (1 + torch.tanh(gain))).flatten(0, 1)


def fill_inwards(values: Tensor, confidence: Tensor) -> Tensor:
    """Spread values from where they are trusted to where they are not, smoothly: pull-push.

    Args:
        values: [B, C, h, w]
        confidence: [B, 1, h, w], at least 0; h and w divisible by 8.

    Returns:
        [B, C, h, w]; 0 where nothing at all is trusted.
    """
    pulled = [(values * confidence, confidence)]
    for _ in range(FILL_LEVELS):
        total, weight = pulled[-1]
        pulled.append((F.avg_pool2d(total, 2), F.avg_pool2d(weight, 2)))
    total, weight = (x.mean((2, 3), keepdim=True) for x in pulled[-1])
    filled = total / (weight + 1e-4)
    for total, weight in reversed(pulled):
        coarser = (
            filled.expand(-1, -1, *total.shape[-2:]) if filled.shape[-1] == 1 else upsample(filled, total.shape[-2:])
        )
        trusted = weight / (weight + FILL_TRUST)
        filled = trusted * total / (weight + 1e-6) + (1 - trusted) * coarser
    return filled


class PriorBlend(nn.Module):
    """Draw the coarse part of a sample to what `TexturePrior` predicts, as far as this is to be trusted.

    Args:
        config: of the renderer.
    """

    def __init__(self, config: RendererConfig) -> None:
        super().__init__()
        self.trust = nn.Conv2d(config.dim + 5, 2, 1)
        nn.init.zeros_(self.trust.weight)
        self.trust.bias = nn.Parameter(torch.logit(torch.tensor(PRIOR_TRUST)))

    def forward(self, prior: Tensor, *, query: Tensor, halved: Tensor) -> Tensor:
        """Find what to add to a texture, at half its size.

        Args:
            prior: [B, 5, H / 2, W / 2] of `TexturePrior.predict`.
            query: [B, D, h, w].
            halved: [K * B, 3, H / 2, W / 2] in [0, 1], the textures of one sample after the other.

        Returns:
            [K * B, 3, H / 2, W / 2]; 0 where nothing was predicted.
        """
        count = len(halved) // len(prior)
        prior, query = prior.repeat(count, 1, 1, 1), query.repeat(count, 1, 1, 1)
        difference = (prior[:, :3] - soften(halved)) * prior[:, 3:4]
        coarse, state = (F.avg_pool2d(x, MAP_STRIDE // PRIOR_STRIDE) for x in (difference, prior[:, 3:]))
        seen = torch.cat([query, DIFFERENCE_GAIN * coarse.abs().to(query.dtype), state.to(query.dtype)], 1)
        of_coarse, of_fine = torch.sigmoid(self.trust(seen).float()).chunk(2, 1)
        size = difference.shape[-2:]
        fine = difference - upsample(coarse, size)
        return upsample(of_coarse * coarse, size) + upsample(of_fine, size) * fine


def soften(images: Tensor) -> Tensor:
    """Blur [B, C, H, W] by 1 2 1 both ways, about as much as a predicted texture was blurred on its way."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16
