"""Lip-Attention and Face-Attention: cross-attention from the target's geometry to reference frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from personatalk.config import RendererConfig
from personatalk.geometry_maps import MAP_STRIDE


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
        nn.init.zeros_(self.pair[-1].weight)
        nn.init.zeros_(self.pair[-1].bias)

    def forward(self, query: Tensor, references: References) -> Sample:
        """Sample the references: query [B, D, h, w]."""
        batch, count = references.features.shape[:2]
        grids = rearrange(references.grids, "b r h w c -> (b r) c h w")
        coarse = F.avg_pool2d(grids, MAP_STRIDE)
        features = rearrange(references.features, "b r d h w -> (b r) d h w")
        at_anchor = sample_pixels(features, coarse / MAP_STRIDE)
        queries = query.repeat_interleave(count, 0)
        pair = self.pair(torch.cat([queries, at_anchor], 1))
        offsets = self.max_offset * torch.tanh(pair[:, 1:])
        logits = rearrange(pair[:, :1], "(b r) 1 h w -> b r h w", b=batch)
        weights = torch.softmax(logits + references.log_weights[:, :, None, None], 1)
        mixed = (rearrange(at_anchor, "(b r) d h w -> b r d h w", b=batch) * weights[:, :, None]).sum(1)
        offsets = rearrange(offsets, "(b r) c h w -> b r c h w", b=batch)
        size = references.images.shape[-2:]
        texture = mix_textures(references.images, grids, upsample(weights, size), upsample_pairs(offsets, size))
        return Sample(texture=texture, features=mixed, weights=weights, offsets=offsets)


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
    sampled = sample_pixels(
        rearrange(images, "b r c h w -> (b r) c h w"), grids + rearrange(offsets, "b r c h w -> (b r) c h w")
    )
    return (rearrange(sampled, "(b r) c h w -> b r c h w", b=len(images)) * weights[:, :, None]).sum(1)


def sample_pixels(images: Tensor, positions: Tensor) -> Tensor:
    """Sample images [B, C, h, w] bilinearly at positions [B, 2, H, W] px (first centre at 0.5); border repeated."""
    size = positions.new_tensor(images.shape[:-3:-1])[:, None, None]
    grid = (2 * positions / size - 1).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize [B, C, h, w] bilinearly."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def upsample_pairs(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize [B, R, 2, h, w] bilinearly."""
    return rearrange(upsample(rearrange(x, "b r c h w -> b (r c) h w"), size), "b (r c) h w -> b r c h w", c=2)
