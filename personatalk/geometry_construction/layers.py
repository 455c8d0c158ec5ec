"""Attention layers over a bounded span of time."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from personatalk.geometry_construction.config import GeometryModelConfig


class LocalAttention(nn.Module):
    """Attention from each frame to the frames near it, with a learnt bias by distance.

    Args:
        dim: width.
        heads: number of heads; divides dim.
        reach: frames on either side.
        dropout: on the output.
    """

    def __init__(self, dim: int, heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.bias = nn.Parameter(torch.zeros(heads, 2 * reach + 1))
        self.to_out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, memory: Tensor, valid: Tensor) -> Tensor:
        """Attend from query [B, T, D] to memory [B, T, D], of which only valid [B, T] counts: [B, T, D]."""
        q, k, v = (
            rearrange(x, "b t (h d) -> b h t d", h=self.heads)
            for x in (self.to_q(query), self.to_k(memory), self.to_v(memory))
        )
        mask = band(self.bias, memory.shape[1])[None].masked_fill(~valid[:, None, None, :], -1e9)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.dropout(self.to_out(rearrange(mixed, "b h t d -> b t (h d)")))


class DecoderLayer(nn.Module):
    """Cross-attention to the stylised audio, self-attention over time, and an MLP; all pre-norm."""

    def __init__(self, config: GeometryModelConfig) -> None:
        super().__init__()
        sizes = (config.dim, config.heads, config.context_frames, config.dropout)
        self.cross_norm, self.audio_norm, self.self_norm = (nn.LayerNorm(config.dim) for _ in range(3))
        self.cross_attention = LocalAttention(*sizes)
        self.self_attention = LocalAttention(*sizes)
        self.mlp = nn.Sequential(
            nn.LayerNorm(config.dim),
            nn.Linear(config.dim, 4 * config.dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(4 * config.dim, config.dim),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Tensor, audio: Tensor, valid: Tensor) -> Tensor:
        """Return [B, T, D] for geometry tokens and audio [B, T, D]."""
        x = x + self.cross_attention(self.cross_norm(x), self.audio_norm(audio), valid)
        normed = self.self_norm(x)
        x = x + self.self_attention(normed, normed, valid)
        return x + self.mlp(x)


def band(bias: Tensor, num_frames: int) -> Tensor:
    """Expand a bias by distance to an attention bias; out of reach it is next to minus infinity.

    Args:
        bias: [H, 2 * reach + 1] for distances from -reach to reach.

    Returns:
        [H, T, T], frame by memory.
    """
    reach = bias.shape[1] // 2
    frames = torch.arange(num_frames, device=bias.device)
    distance = frames[None] - frames[:, None]
    square = bias[:, (distance + reach).clamp(0, 2 * reach)]
    return square.masked_fill(distance.abs() > reach, -1e9)
