"""Lip-Attention and Face-Attention: cross-attention from the target's geometry to reference frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from personatalk.face_rendering.config import RendererConfig
from personatalk.geometry.mesh import MAP_STRIDE
from personatalk.unet import upsample, zero_parameters


@dataclass(frozen=True, kw_only=True)
class References:
    """What one attention layer may look at.

    Attributes:
        features: [B, R, D, h, w] encodings of the references.
        images: [B, R, 3, H, W] in [0, 1].
        grids: [B, R, H, W, 2] px, where each target pixel lies in each reference.
        log_weights: [B, R] prior of the choice of references.
    """

    features: Tensor
    images: Tensor
    grids: Tensor
    log_weights: Tensor


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one attention layer took from its references.

    Attributes:
        texture: [B, 3, H, W] in [0, 1].
        features: [B, D, h, w].
        weights: [B, R, h, w], sum to 1 over R.
        offsets: [B, R, 2, h, w] px of the window.
    """

    texture: Tensor
    features: Tensor
    weights: Tensor
    offsets: Tensor


def spread_out(sample: Sample, numbers: np.ndarray, count: int) -> Sample:
    """Tell of all references, not only of those that were looked at; weights and offsets of the others are 0.

    Args:
        sample: of the references that were looked at.
        numbers: [R] which ones among all.
        count: how many there are in all.
    """
    weights = sample.weights.new_zeros(len(sample.weights), count, *sample.weights.shape[2:])
    offsets = sample.offsets.new_zeros(len(weights), count, *sample.offsets.shape[2:])
    weights[:, numbers], offsets[:, numbers] = sample.weights, sample.offsets
    return replace(sample, weights=weights, offsets=offsets)


class AnchoredAttention(nn.Module):
    """Cross-attention that looks where the mesh says, and a learnt step beside it.

    The query is the target's geometry at a place, the keys are what the references hold at the
    corresponding places, the values are their textures. At the start all logits and offsets are zero: the
    result is the warp through the mesh, averaged by the prior weights.

    Args:
        config: of the renderer.

    Ours: the paper's attention is dense; anchoring costs places x references instead of
        places x all places of all references, and its weights apply to pixels of any resolution.
    """

    def __init__(self, config: RendererConfig) -> None:
        super().__init__()
        self.max_offset = config.max_offset_px
        self.pair = nn.Sequential(
            nn.Conv2d(2 * config.dim, config.dim, 1), nn.SiLU(), nn.Conv2d(config.dim, 3, 3, padding=1)
        )
        zero_parameters(self.pair[-1])

    def forward(self, query: Tensor, references: References) -> Sample:
        """Sample the references: query [B, D, h, w]."""
        size, grids = references.images.shape[-2:], rearrange(references.grids, "b r h w c -> (b r) c h w")
        at_anchor = sample_maps(references.features, F.avg_pool2d(grids, MAP_STRIDE) / MAP_STRIDE)
        logits, offsets = self._pair(query, at_anchor).float().split((1, 2), 2)
        offsets = self.max_offset * torch.tanh(offsets)
        weights = torch.softmax(logits[:, :, 0] + references.log_weights[:, :, None, None], 1)
        texture = mix_textures(references.images, grids, upsample(weights, size), upsample_pairs(offsets, size))
        return Sample(texture=texture, features=mix(at_anchor.unbind(1), weights), weights=weights, offsets=offsets)

    def _pair(self, query: Tensor, at_anchor: Tensor) -> Tensor:
        """Compare query [B, D, h, w] and references [B, R, D, h, w]: [B, R, 3, h, w].

        The first layer's half for the query is computed once for all references; their sum is that of both joined.
        """
        first, activation, last = cast(nn.Conv2d, self.pair[0]), self.pair[1], self.pair[2]
        on_query, on_anchor = first.weight.chunk(2, 1)
        seen = F.conv2d(at_anchor.flatten(0, 1), on_anchor).unflatten(0, at_anchor.shape[:2])
        joined = seen + F.conv2d(query, on_query, first.bias)[:, None]
        return last(activation(joined.flatten(0, 1))).unflatten(0, at_anchor.shape[:2])


class DenseAttention(nn.Module):
    """The paper's form: every place of the target looks at every place of every reference.

    Works on 1/8 of the window; values are the reference's 8x8 pixels and its features there.

    Args:
        config: of the renderer.

    Source: Lip-Attention and Face-Attention of PersonaTalk (arXiv 2409.05379); their sizes are ours.
    """

    def __init__(self, config: RendererConfig) -> None:
        super().__init__()
        self.to_query = nn.Conv2d(config.dim, config.dim, 1)
        self.to_key = nn.Conv2d(config.dim, config.dim, 1)

    def forward(self, query: Tensor, references: References) -> Sample:
        """Sample the references: query [B, D, h, w]."""
        batch, count, _, height, width = references.features.shape
        query_tokens = rearrange(self.to_query(F.avg_pool2d(query, 2)), "b d h w -> b (h w) d")
        flat = F.avg_pool2d(rearrange(references.features, "b r d h w -> (b r) d h w"), 2)
        keys = rearrange(self.to_key(flat), "(b r) d h w -> b (r h w) d", b=batch)
        logits = query_tokens @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5
        prior = references.log_weights.repeat_interleave(height * width // 4, 1)
        weights = torch.softmax(logits + prior[:, None], -1)
        patches = rearrange(references.images, "b r c (h p) (w q) -> b (r h w) (c p q)", p=8, q=8)
        texture = rearrange(
            weights @ patches, "b (h w) (c p q) -> b c (h p) (w q)", h=height // 2, w=width // 2, p=8, q=8
        )
        mixed = weights @ rearrange(flat, "(b r) d h w -> b (r h w) d", b=batch)
        mixed = rearrange(mixed, "b (h w) d -> b d h w", h=height // 2)
        share = rearrange(weights, "b (h w) (r n) -> b r n h w", h=height // 2, r=count).sum(2)
        return Sample(
            texture=texture,
            features=upsample(mixed, (height, width)),
            weights=upsample(share, (height, width)),
            offsets=query.new_zeros(batch, count, 2, height, width),
        )


def mix_textures(images: Tensor, grids: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Take weighted samples of the references' pixels, at any resolution.

    Args:
        images: [B, R, 3, h, w].
        grids: [B * R, 2, H, W] px of the references.
        weights: [B, R, H, W].
        offsets: [B, R, 2, H, W] px of the references.

    Returns:
        [B, 3, H, W]
    """
    positions = grids.unflatten(0, images.shape[:2]).unbind(1), offsets.unbind(1)
    sampled = (
        sample_pixels(image, there + step) for image, there, step in zip(images.unbind(1), *positions, strict=True)
    )
    return mix(sampled, weights)  # one reference after the other, as all at once do not fit the processor's cache


def mix(values: Iterable[Tensor], weights: Tensor) -> Tensor:
    """Add up R values [B, C, H, W] by weights [B, R, H, W]: [B, C, H, W]."""
    mixed = weights.new_zeros(())
    for value, weight in zip(values, weights.split(1, 1), strict=True):
        mixed = torch.addcmul(mixed, value, weight)
    return mixed


def sample_pixels(images: Tensor, positions: Tensor) -> Tensor:
    """Sample images [B, C, h, w] bilinearly at positions [B, 2, H, W] px (first centre at 0.5); border repeated."""
    scale = 2 / positions.new_tensor(images.shape[:-3:-1])[:, None, None]
    grid = torch.addcmul(positions.new_tensor(-1.0), positions, scale).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def sample_maps(maps: Tensor, positions: Tensor) -> Tensor:
    """Sample maps of many channels as `sample_pixels` does, all channels of a place at once.

    Args:
        maps: [B, R, C, h, w].
        positions: [B * R, 2, H, W] px.

    Returns:
        [B, R, C, H, W] float32; a place's channels lie side by side in memory.
    """
    batch, count, _, height, width = maps.shape
    table = rearrange(maps, "b r c h w -> (b r h w) c").float()
    first = torch.arange(batch * count, device=maps.device)[:, None, None] * (height * width)
    x, y = positions.unbind(1)
    x, y = (x - 0.5).clamp(0, width - 1), (y - 0.5).clamp(0, height - 1)
    x0, y0 = x.long().clamp(max=width - 2), y.long().clamp(max=height - 2)
    x, y = x - x0, y - y0
    corner = first + y0 * width + x0
    corners = torch.stack([corner, corner + 1, corner + width, corner + width + 1], -1)
    shares = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], -1)
    sampled = F.embedding_bag(corners.view(-1, 4), table, mode="sum", per_sample_weights=shares.view(-1, 4))
    return rearrange(sampled, "(b r h w) c -> b r c h w", b=batch, r=count, h=positions.shape[2])


def upsample_pairs(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize [B, R, 2, h, w] bilinearly."""
    return rearrange(upsample(rearrange(x, "b r c h w -> b (r c) h w"), size), "b (r c) h w -> b r c h w", c=2)
