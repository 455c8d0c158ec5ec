"""Sizes of the speech encoder and of the sync networks."""

from __future__ import annotations

from dataclasses import dataclass, field

ENCODER_KINDS = ("whisper", "hubert")


@dataclass(frozen=True, kw_only=True)
class SpeechEncoderConfig:
    """Which speech encoder is used, and which of its layers.

    Attributes:
        kind: "whisper" or "hubert".
        dim: width of the encoder.
        output_layers: layers, counted from 1, whose outputs are concatenated.
    """

    kind: str = "whisper"
    dim: int = 384
    output_layers: list[int] = field(default_factory=lambda: [2, 3])

    def __post_init__(self) -> None:
        if self.kind not in ENCODER_KINDS:
            raise ValueError(f"kind={self.kind!r} must be one of {ENCODER_KINDS}")
        if not self.output_layers or min(self.output_layers) < 1:
            raise ValueError(f"output_layers={self.output_layers} must name layers from 1 on")

    @property
    def feature_dim(self) -> int:
        """Width of the features."""
        return self.dim * len(self.output_layers)

    @property
    def name(self) -> str:
        """Identifies the features, such as "whisper-384-2-3": networks trained on some do not fit others."""
        return "-".join(map(str, (self.kind, self.dim, *self.output_layers)))


DEFAULT_ENCODER = SpeechEncoderConfig().name


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """The network that measures whether lips and audio are in sync, and the offset between them.

    Attributes:
        audio: its audio features: "speech", those of stage 1's speech encoder, or "mel", log-mel spectrograms.
        speech_encoder: name of the speech encoder that "speech" stands for.
        audio_dim: width of the audio features.
        lip_dim: width of the lip features: speech coefficients, lip aperture and mouth width.
        dim: width of its layers.
        embedding_dim: width of the common embedding space.
        audio_layers: convolutions over 5 steps of 20 ms.
        lip_layers: convolutions over 5 frames of 40 ms; each adds 2 frames on either side to the receptive field.
        dropout: share of activations dropped in training.
    """

    audio: str = "speech"
    speech_encoder: str = DEFAULT_ENCODER
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
