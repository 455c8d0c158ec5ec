"""Sizes of the speech encoder and of the sync networks."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SpeechEncoderConfig:
    """Which layers of the speech encoder are used.

    Attributes:
        dim: width of the encoder.
        output_layers: layers, counted from 1, whose outputs are concatenated.
    """

    dim: int = 384
    output_layers: list[int] = field(default_factory=lambda: [2, 3])


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """The network that measures whether lips and audio are in sync, and the offset between them.

    Attributes:
        audio: its audio features: "speech", those of stage 1's speech encoder, or "mel", log-mel spectrograms.
        audio_dim: width of the audio features.
        lip_dim: width of the lip features: speech coefficients, lip aperture and mouth width.
        dim: width of its layers.
        embedding_dim: width of the common embedding space.
        audio_layers: convolutions over 5 steps of 20 ms.
        lip_layers: convolutions over 5 frames of 40 ms; each adds 2 frames on either side to the receptive field.
        dropout: share of activations dropped in training.
    """

    audio: str = "speech"
    audio_dim: int = 768
    lip_dim: int = 34
    dim: int = 64
    embedding_dim: int = 32
    audio_layers: int = 2
    lip_layers: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.audio not in ("speech", "mel"):
            raise ValueError(f"audio={self.audio!r} must be 'speech' or 'mel'")
