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
        expression_dim: K, number of speech coefficients of the face model.
        dim: width of the network.
        heads: attention heads; divides dim.
        depth: layers of the geometry decoder.
        style_tokens: number of query tokens that carry the speaking style.
        frame_rate: Hz of the grid of time on which the network works, whatever the video's rate.
        window_frames: points of the grid on either side whose sound the style tokens ask for one of them.
        context_frames: points of the grid on either side that a decoder layer attends to.
        dropout: share of activations dropped in training.
    """

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
        min_style_frames: shortest excerpt from which style is taken, frames at 25 Hz.
        min_fit: clips whose sound fits the face less than this are left out.
        measured_offsets: offsets and fit are those measured by `train sync`, where it ran, not the manifest's.
        noise_share: share of excerpts with noise for sound and the mouth at rest for truth.
        spoilt_share: share of excerpts with noise added to the voice.
        jitter_s: seconds by which the sound may be moved either way.
        loss_weights: as above. The loss "closure" does harm, measured; lips are shut by what is read off afterwards.
    """

    num_steps: int = 1600
    batch_size: int = 32
    warmup_steps: int = 200
    weight_decay: float = 0.05
    ema_decay: float = 0.995
    validate_every: int = 200
    num_frames: int = 50
    min_style_frames: int = 25
    min_fit: float = 0.3
    measured_offsets: bool = True
    noise_share: float = 0.06
    spoilt_share: float = 0.4
    jitter_s: float = 0.02
    loss_weights: dict[str, float] = field(
        default_factory=lambda: dict(vertex=1.0, velocity=2.0, openness=0.25, closure=0.0, deviation=0.3, sync=2.0)
    )


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


@dataclass(frozen=True, kw_only=True)
class SyncTrainingConfig(TrainingConfig):
    """Training of a sync network.

    Attributes:
        num_frames: length of a training excerpt, frames at 25 Hz.
        min_fit: clips whose sound fits the face less than this are left out.
        label_spread: frames; how far the true offsets are believed to scatter about those given.
    """

    num_steps: int = 800
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.1
    ema_decay: float = 0.995
    num_frames: int = 50
    min_fit: float = 0.3
    label_spread: float = 0.6
    loss_weights: dict[str, float] = field(default_factory=lambda: {"shift": 1.0, "other": 0.5})


def from_dict(cls: type[C], values: dict[str, Any]) -> C:
    """Build a config from JSON, refusing keys that it does not know.

    Raises:
        ValueError: an unknown key; the message names it and the known ones.
    """
    hints = get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{cls.__name__}: unknown {unknown}, known {sorted(known)}")
    nested = {name for name in values if dataclasses.is_dataclass(hints[name])}
    return cls(**{name: from_dict(hints[name], value) if name in nested else value for name, value in values.items()})


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a config into what JSON can hold."""
    return dataclasses.asdict(config)


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
        has_light_fill: the difference of light around the mask is carried inwards.
        has_texture_prior: samples are drawn to the coarse colours that all references together predict.
        has_decoder: without it the attention's samples are the result.
    """

    dim: int = 48
    widths: tuple[int, int, int] = (64, 96, 128)
    num_lip_references: int = 3
    num_face_references: int = 2
    attention: str = "anchored"
    max_offset_px: float = 4.0
    has_light_fill: bool = True
    has_texture_prior: bool = True
    has_decoder: bool = True

    def __post_init__(self) -> None:
        if self.attention not in ("anchored", "dense"):
            raise ValueError(f"attention={self.attention!r} must be 'anchored' or 'dense'")


REFERENCE_STRATEGIES = ("coverage", "paper", "random", "nearest")
LENGTH_RULES = ("video", "audio", "loop", "hold")


@dataclass(frozen=True, kw_only=True)
class DubbingOptions:
    """What a caller may choose for one dub.

    Attributes:
        style_strength: 0 speaks as the average person, 1 as this one, above 1 exaggerates.
        mouth_amplitude: factor on the motion of the mouth about its rest.
        length: "video" keeps the video's frames and the whole audio; with the others both end together: a
            long video is cut, a short one is played back and forth ("audio"), starts again ("loop"), or
            stands still at its last frame ("hold").
        reference_strategy: how lip references are chosen, one of REFERENCE_STRATEGIES.
        face_point: (x, y) px in the first frame; the face nearest to it is dubbed. Without it, the largest.
        style_video: another clip whose speaking style is used.
        reference_video: another clip of the same person that gives style and lip references.
        crf: quality of the H.264 output, lower is better; 16 is visually lossless.
        measure_offset: the clip's own sound is moved to its own picture before anything is learnt from it.
        calibrate: stage 1 is fitted to how the person says what the clip's own sound says.
    """

    style_strength: float = 1.0
    mouth_amplitude: float = 1.0
    length: str = "video"
    reference_strategy: str = "coverage"
    face_point: tuple[float, float] | None = None
    style_video: Any = None
    reference_video: Any = None
    crf: int = 16
    measure_offset: bool = True
    calibrate: bool = True

    def __post_init__(self) -> None:
        if self.length not in LENGTH_RULES:
            raise ValueError(f"length={self.length!r} must be one of {LENGTH_RULES}")
        if self.reference_strategy not in REFERENCE_STRATEGIES:
            raise ValueError(f"reference_strategy={self.reference_strategy!r} must be one of {REFERENCE_STRATEGIES}")
        for name in ("style_strength", "mouth_amplitude"):
            if not 0 <= getattr(self, name) <= 3:
                raise ValueError(f"{name}={getattr(self, name)} must lie between 0 and 3")


@dataclass(frozen=True, kw_only=True)
class RendererTrainingConfig(TrainingConfig):
    """A run of stage 2.

    Attributes:
        bank_size: lip references that a training clip offers; the nearest few attend.
        lip_weight: factor on the reconstruction inside the lip region.
        adversarial_from: step from which the mouth discriminator is heard.
        adversarial_warmup: steps before that in which it learns alone.
        disturbed_share: share of targets whose geometry is disturbed, as stage 1 may be wrong.
        prior_share: share of targets with a texture prior; a dub may have to do without.
        bfloat16: computes in bfloat16, which some processors are faster at.
    """

    learning_rate: float = 6e-4
    batch_size: int = 6
    num_steps: int = 4000
    warmup_steps: int = 100
    bank_size: int = 12
    lip_weight: float = 2.0
    adversarial_from: int = 1500
    adversarial_warmup: int = 200
    disturbed_share: float = 0.2
    prior_share: float = 0.9
    bfloat16: bool = False
    loss_weights: dict[str, float] = field(
        default_factory=lambda: dict(
            reconstruction=1.0, samples=0.3, gradient=0.5, lpips=0.5, adversarial=0.01, matching=0.5
        )
    )
