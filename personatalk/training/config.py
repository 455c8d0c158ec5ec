"""Configurations of training runs, frozen dataclasses that are read from JSON."""

from __future__ import annotations

from dataclasses import dataclass, field


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
        ema_decay: of the exponential moving average of the weights, which is what ships.
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
        noise_share: share of excerpts with noise for audio and the mouth at rest for truth.
        augmented_share: share of excerpts with noise added to the voice.
        jitter_s: seconds by which the sound may be moved either way.
        loss_weights: as above. The loss "closure" lowers the correlation, so the closure head, fitted afterwards,
            closes lips instead.
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
    augmented_share: float = 0.4
    jitter_s: float = 0.02
    loss_weights: dict[str, float] = field(
        default_factory=lambda: dict(vertex=1.0, velocity=2.0, aperture=0.25, closure=0.0, deviation=0.3, sync=2.0)
    )


@dataclass(frozen=True, kw_only=True)
class SyncTrainingConfig(TrainingConfig):
    """Training of a sync network.

    Attributes:
        num_frames: length of a training excerpt, frames at 25 Hz.
        min_fit: clips whose sound fits the face less than this are left out.
        label_spread: frames; standard deviation of the true offsets about those given.
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


@dataclass(frozen=True, kw_only=True)
class AdversarialTrainingConfig(TrainingConfig):
    """A run of a network that makes pictures, with a discriminator of mouths beside it.

    Attributes:
        adversarial_from: step from which the mouth discriminator's losses count.
        adversarial_warmup: steps before that in which it is trained already.
        bfloat16: mixed precision, which GPUs and some processors compute faster.
    """

    adversarial_from: int = 1500
    adversarial_warmup: int = 200
    bfloat16: bool = False


@dataclass(frozen=True, kw_only=True)
class RendererTrainingConfig(AdversarialTrainingConfig):
    """A run of stage 2.

    Attributes:
        bank_size: lip references that a training clip offers; the nearest few attend.
        lip_weight: factor on the reconstruction inside the lip region.
        disturbed_share: share of targets whose geometry is perturbed, since stage 1's has errors too.
        prior_share: share of targets with a texture prior; a dub may have none.
    """

    learning_rate: float = 6e-4
    batch_size: int = 6
    num_steps: int = 4000
    warmup_steps: int = 100
    bank_size: int = 12
    lip_weight: float = 2.0
    disturbed_share: float = 0.2
    prior_share: float = 0.9
    loss_weights: dict[str, float] = field(
        default_factory=lambda: dict(
            reconstruction=1.0, samples=0.3, gradient=0.5, lpips=0.5, adversarial=0.01, matching=0.5
        )
    )


@dataclass(frozen=True, kw_only=True)
class InteriorTrainingConfig(AdversarialTrainingConfig):
    """A run of the mouth interior."""

    learning_rate: float = 1e-3
    batch_size: int = 12
    num_steps: int = 6000
    warmup_steps: int = 100
    loss_weights: dict[str, float] = field(
        default_factory=lambda: dict(reconstruction=1.0, gradient=0.5, lpips=1.0, adversarial=0.01, matching=0.5)
    )


@dataclass(frozen=True, kw_only=True)
class OccluderTrainingConfig(TrainingConfig):
    """A run of the occluder network."""

    learning_rate: float = 2e-3
    batch_size: int = 24
    num_steps: int = 4000
    loss_weights: dict[str, float] = field(default_factory=lambda: dict(entropy=1.0, overlap=0.3))
