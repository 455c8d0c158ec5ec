"""Sizes of the speech encoder and of the sync networks."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SpeechEncoderConfig:
    """Which layers of the speech encoder are used.

    Attributes:
        dim: width of the encoder.
        output_layers: layers, counted from 1, whose outputs stand side by side in the features.
    """

    dim: int = 384
    output_layers: list[int] = field(default_factory=lambda: [2, 3])


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """The network that says whether a mouth and a sound belong together, and how far apart they are.

    Attributes:
        sound: what it hears: "whisper", the features of stage 1, or "mel", a log-mel spectrogram.
        audio_dim: width of what it hears.
        lip_dim: width of what it sees: speech coefficients, openness and spread.
        dim: width of its layers.
        embedding_dim: width of the space in which the two meet.
        audio_layers: convolutions over 5 moments of 20 ms.
        lip_layers: convolutions over 5 frames of 40 ms; they see 2 frames more on either side each.
        dropout: share of activations dropped in training.
    """

    sound: str = "whisper"
    audio_dim: int = 768
    lip_dim: int = 34
    dim: int = 64
    embedding_dim: int = 32
    audio_layers: int = 2
    lip_layers: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.sound not in ("whisper", "mel"):
            raise ValueError(f"sound={self.sound!r} must be 'whisper' or 'mel'")
