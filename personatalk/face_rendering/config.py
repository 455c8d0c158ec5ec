"""Sizes and choices of stage 2."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RendererConfig:
    """Stage 2: geometry and references to face pixels.

    Attributes:
        dim: width of queries, keys and values.
        widths: channels of the decoder at 1/4, 1/8 and 1/16 of the window.
        num_lip_references: lip references that attend to one target.
        num_face_references: face references that attend to one target.
        attention: "anchored" samples at the mesh's correspondence, "dense" looks everywhere.
        max_offset_px: how far a learnt offset may lead away from the correspondence; 0 for none.
        has_colour_transfer: the difference of light around the mask is carried inwards.
        has_texture_prior: samples are drawn to the coarse colours that all references together predict.
        has_decoder: without it the attention's samples are the result.
    """

    dim: int = 48
    widths: tuple[int, int, int] = (64, 96, 128)
    num_lip_references: int = 3
    num_face_references: int = 2
    attention: str = "anchored"
    max_offset_px: float = 4.0
    has_colour_transfer: bool = True
    has_texture_prior: bool = True
    has_decoder: bool = True

    def __post_init__(self) -> None:
        if self.attention not in ("anchored", "dense"):
            raise ValueError(f"attention={self.attention!r} must be 'anchored' or 'dense'")
