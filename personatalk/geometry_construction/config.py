"""Sizes of stage 1."""

from __future__ import annotations

from dataclasses import dataclass

from personatalk.speech.config import DEFAULT_ENCODER


@dataclass(frozen=True, kw_only=True)
class GeometryModelConfig:
    """Stage 1: speech and speaking style to expression coefficients.

    Attributes:
        speech_encoder: name of the speech encoder whose features it was trained on.
        audio_dim: width of the speech features.
        expression_dim: K, number of speech coefficients of the face model.
        dim: width of the network.
        heads: attention heads; divides dim.
        depth: layers of the geometry decoder.
        style_tokens: number of query tokens that carry the speaking style.
        frame_rate: Hz of the time grid on which the network works, whatever the video's rate.
        window_frames: grid points on either side whose audio features the style tokens attend to.
        context_frames: grid points on either side that a decoder layer attends to.
        dropout: share of activations dropped in training.
    """

    speech_encoder: str = DEFAULT_ENCODER
    audio_dim: int = 768
    expression_dim: int = 32
    dim: int = 96
    heads: int = 4
    depth: int = 2
    style_tokens: int = 4
    frame_rate: float = 25.0
    window_frames: int = 3
    context_frames: int = 4
    dropout: float = 0.25

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} must be divisible by heads={self.heads}")
