"""Every number that a user or a run may set, as frozen dataclasses that read and write JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class GeometryModelConfig:
    """Stage 1: speech and speaking style to expression coefficients.

    Attributes:
        audio_dim: width of the speech features.
        expression_dim: Ke, number of expression coefficients.
        dim: width of the network.
        heads: attention heads; divides dim.
        depth: layers of the geometry decoder.
        style_tokens: number of query tokens that carry the speaking style.
        window_s: seconds of sound that a frame listens to, half of them before it.
        window_samples: features taken from that window.
        context_frames: frames on either side that one decoder layer attends to.
        frame_rate: Hz of the time grid on which the decoder works, whatever the video's rate.
        dropout: share of activations dropped in training.
    """

    audio_dim: int = 768
    expression_dim: int = 40
    dim: int = 96
    heads: int = 4
    depth: int = 2
    style_tokens: int = 4
    window_s: float = 0.6
    window_samples: int = 15
    context_frames: int = 12
    frame_rate: float = 25.0
    dropout: float = 0.25

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} must be divisible by heads={self.heads}")


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
class TrainingConfig:
    """What the training loop needs, whichever stage it trains.

    Attributes:
        num_steps: steps in all.
        batch_size: examples a step.
        learning_rate: at the end of the warm-up.
        warmup_steps: steps of the linear rise.
        weight_decay: of AdamW.
        max_grad_norm: gradients are scaled down to this norm.
        ema_decay: of the averaged weights, which are the ones that ship.
        seed: of everything random.
        log_every: steps between log lines.
        validate_every: steps between validations.
        save_every: steps between writes of the state.
        loss_weights: weight of each named loss.
    """

    num_steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    log_every: int = 50
    validate_every: int = 500
    save_every: int = 500
    loss_weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GeometryTrainingConfig(TrainingConfig):
    """Training of stage 1.

    Attributes:
        num_frames: length of a training excerpt, frames at 25 Hz.
        min_fit: clips whose sound fits the face less than this are left out.
    """

    num_steps: int = 6000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05
    num_frames: int = 50
    min_fit: float = 0.3
    loss_weights: dict[str, float] = field(
        default_factory=lambda: {"vertex": 1.0, "velocity": 1.0, "closure": 1.0, "deviation": 1.0}
    )


def from_dict(cls: type[C], values: dict[str, Any]) -> C:
    """Build a config from JSON, refusing keys that it does not know.

    Raises:
        ValueError: an unknown key; the message names it and the known ones.
    """
    hints = get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{cls.__name__}: unknown {unknown}, known {sorted(known)}")
    return cls(
        **{
            name: from_dict(hints[name], value) if dataclasses.is_dataclass(hints[name]) else value
            for name, value in values.items()
        }
    )


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a config into what JSON can hold."""
    return dataclasses.asdict(config)
