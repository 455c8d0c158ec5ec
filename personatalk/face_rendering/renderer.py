"""Stage 2: geometry maps and references to face pixels, by Lip-Attention and Face-Attention in parallel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personatalk.face_rendering.attention import (
    AnchoredAttention,
    DenseAttention,
    References,
    Sample,
)
from personatalk.face_rendering.colour_transfer import ColourTransfer, PriorBlend
from personatalk.face_rendering.config import RendererConfig
from personatalk.geometry.mesh import MAP_STRIDE, NUM_MAP_CHANNELS, NUM_PRIOR_CHANNELS, PRIOR_STRIDE
from personatalk.unet import ResidualBlock, UNet, upsample, zero_parameters

RESIDUAL_STRIDE = 8  # px over which the residual is even: measured, finer ones blur more than they add
PRIOR_PIXELS = (MAP_STRIDE // PRIOR_STRIDE) ** 2  # of the prior, under each place of the maps
LIP_GATE = 4.0  # logit by which the lip region leans to the lip sample at the start; skin takes both alike


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is known of the frame to render.

    Attributes:
        image: [B, 3, H, W] in [0, 1], black wherever the mask is above 0.
        mask: [B, 1, H, W] in [0, 1], the region to render.
        geometry: [B, G, h, w] geometry map.
        prior: [B, 5, H / 2, W / 2] of `TexturePrior.predict`; None where nothing was predicted.
    """

    image: Tensor
    mask: Tensor
    geometry: Tensor
    prior: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """A rendered window and how it came about.

    Attributes:
        faces: [B, 3, H, W] in [0, 1], right inside the mask only.
        gate: [B, 1, H, W], share of the lip sample.
        residual: [B, 3, H, W] added to the samples' textures, colour transfer included.
        lip: what Lip-Attention took, in the target's colours.
        face: what Face-Attention took, in the target's colours.
        prior: [B, 5, H / 2, W / 2] what was predicted from all references; None for a network that does not ask.
        interior: [B, 3, H, W] in [0, 1], the painted inside of the mouth; None where none was painted.
        interior_share: [B, 1, H, W] in [0, 1], how far it replaces what the samples gave; it is in `faces` already.
    """

    faces: Tensor
    gate: Tensor
    residual: Tensor
    lip: Sample
    face: Sample
    prior: Tensor | None = None
    interior: Tensor | None = None
    interior_share: Tensor | None = None


class Decoder(UNet):
    """A small U-Net that blends the two samples and adds what neither has: shadow, inner mouth, bared skin."""

    def __init__(self, config: RendererConfig) -> None:
        pixels = MAP_STRIDE**2
        num_prior = NUM_PRIOR_CHANNELS * PRIOR_PIXELS if config.has_texture_prior else 0
        super().__init__((3 + 3 + 4) * pixels + 3 * config.dim + num_prior, config.widths)
        self.leave = nn.Conv2d(config.widths[0], 4 * pixels, 3, padding=1)
        zero_parameters(self.leave)

    def forward(
        self, target: Target, query: Tensor, lip: Sample, face: Sample, prior: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return residual [B, 3, H, W] and the logit of the gate [B, 1, H, W]."""
        pixels = torch.cat([lip.texture, face.texture, target.image, target.mask], 1)
        maps = [query, lip.features, face.features]
        if prior is not None:
            maps.append(F.pixel_unshuffle(prior, MAP_STRIDE // PRIOR_STRIDE))
        maps = torch.cat([x.to(query.dtype) for x in maps], 1)
        fine = self.through(join(self.enter, pixels, maps))
        residual, lean = self._leave(F.silu(fine)).float().split((3, MAP_STRIDE**2), 1)
        residual = F.avg_pool2d(residual, RESIDUAL_STRIDE // MAP_STRIDE)  # fine detail is the samples' own
        return upsample(residual, target.image.shape[-2:]), F.pixel_shuffle(lean, MAP_STRIDE)

    def _leave(self, fine: Tensor) -> Tensor:
        """Apply the last layer, [B, 3 + 16, h, w]: the residual as the mean over each place's 4x4 pixels, not each."""
        pixels = MAP_STRIDE**2
        weight, bias = (
            torch.cat([x[: 3 * pixels].unflatten(0, (3, pixels)).mean(1), x[3 * pixels :]])
            for x in self.leave.parameters()
        )
        return F.conv2d(fine, weight, bias, padding=1)


def join(layer: nn.Conv2d, pixels: Tensor, maps: Tensor) -> Tensor:
    """Apply a 1x1 convolution to the pixels under each place and to maps, without bringing them together.

    Args:
        layer: over P * 16 + C channels.
        pixels: [B, P, H, W].
        maps: [B, C, H / 4, W / 4].

    Returns:
        [B, D, H / 4, W / 4], what `layer` makes of the unshuffled pixels and the maps, joined.
    """
    on_pixels = layer.weight[:, : -maps.shape[1]].unflatten(1, (pixels.shape[1], MAP_STRIDE**2))
    on_pixels = on_pixels.view(len(on_pixels), -1, MAP_STRIDE, MAP_STRIDE)
    seen = F.conv2d(pixels, on_pixels, stride=MAP_STRIDE)
    return F.conv2d(maps, layer.weight[:, -maps.shape[1] :], layer.bias) + seen


class DualAttentionRenderer(nn.Module):
    """Render the lower face for a geometry, from references of the same person.

    Args:
        config: sizes and choices.

    Source: the dual-attention face renderer of PersonaTalk (arXiv 2409.05379).
    """

    def __init__(self, config: RendererConfig) -> None:
        super().__init__()
        self.config = config
        dim, pixels = config.dim, MAP_STRIDE**2
        attention = AnchoredAttention if config.attention == "anchored" else DenseAttention
        self.encode = nn.Sequential(nn.Conv2d(3 * pixels + NUM_MAP_CHANNELS, dim, 1), ResidualBlock(dim))
        self.query = nn.Sequential(nn.Conv2d(4 * pixels + NUM_MAP_CHANNELS, dim, 1), ResidualBlock(dim))
        self.lip_attention = attention(config)
        self.face_attention = attention(config)
        self.colour_transfer = ColourTransfer(config) if config.has_colour_transfer else None
        self.prior = PriorBlend(config) if config.has_texture_prior else None
        self.decoder = Decoder(config) if config.has_decoder else None

    def encode_references(self, images: Tensor, geometry: Tensor) -> Tensor:
        """Encode references, once each: [B, 3, H, W] in [0, 1] and [B, G, h, w] -> [B, D, h, w]."""
        return self.encode(torch.cat([F.pixel_unshuffle(images, MAP_STRIDE), geometry], 1))

    def forward(self, target: Target, lip: References, face: References) -> Rendering:
        """Render B windows; see the three classes for shapes."""
        known = torch.cat([target.image, target.mask], 1)
        first, block = cast(nn.Conv2d, self.query[0]), self.query[1]
        query = block(join(first, known, target.geometry))
        lip_sample, face_sample = self.lip_attention(query, lip), self.face_attention(query, face)
        prior = self._prior(target)
        lip_colour, face_colour = self._colour_offsets(target, prior, query, lip_sample, face_sample)
        lip_sample = replace(lip_sample, texture=lip_sample.texture + lip_colour)
        face_sample = replace(face_sample, texture=face_sample.texture + face_colour)
        gate_logit = LIP_GATE * upsample(target.geometry[:, -1:], target.mask.shape[-2:])
        residual = torch.zeros_like(target.image)
        if self.decoder is not None:
            residual, lean = self.decoder(target, query, lip_sample, face_sample, prior)
            gate_logit = gate_logit + lean
        gate = torch.sigmoid(gate_logit)
        faces = torch.lerp(face_sample.texture, lip_sample.texture, gate) + residual
        residual = residual + torch.lerp(face_colour, lip_colour, gate)
        return Rendering(faces=faces, gate=gate, residual=residual, lip=lip_sample, face=face_sample, prior=prior)

    def _prior(self, target: Target) -> Tensor | None:
        """[B, 5, H / 2, W / 2]: what was predicted, or that nothing was; None for a network that does not ask."""
        if self.prior is None or target.prior is not None:
            return target.prior if self.prior is not None else None
        batch, _, height, width = target.image.shape
        return target.image.new_zeros(batch, NUM_PRIOR_CHANNELS, height // PRIOR_STRIDE, width // PRIOR_STRIDE)

    def _colour_offsets(
        self, target: Target, prior: Tensor | None, query: Tensor, *samples: Sample
    ) -> tuple[Tensor, ...]:
        """What to add to the texture of each sample so that it has the target's colours: [B, 3, H, W] each."""
        textures = torch.cat([sample.texture for sample in samples])
        offset = textures.new_zeros(len(textures), 3, *query.shape[-2:])
        if self.colour_transfer is not None:
            known, face = (target.mask == 0).to(textures.dtype), target.geometry[:, -2:-1]
            offset = self.colour_transfer(target.image, known, face, query=query, texture=textures)
        if self.prior is not None and prior is not None:
            offset = upsample(offset, prior.shape[-2:])
            offset = offset + self.prior(prior, query=query, halved=F.avg_pool2d(textures, PRIOR_STRIDE) + offset)
        return upsample(offset, textures.shape[-2:]).chunk(len(samples))
