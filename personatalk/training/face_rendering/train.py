"""Train stage 2: draw frames of a clip, hide the mouth, render it again from other frames of the clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personatalk.checkpoints import load_into
from personatalk.errors import PersonaTalkError
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.inputs import device_of
from personatalk.face_rendering.renderer import DualAttentionRenderer, Rendering
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.metrics.perceptual import LPIPS_FILES, EfficientNetLite0, Lpips
from personatalk.training.config import RendererTrainingConfig, TrainingConfig
from personatalk.training.corpus import Clip
from personatalk.training.face_rendering.dataset import Prefetcher, RendererBatch, RendererDataset
from personatalk.training.face_rendering.discriminator import MOUTH_COLUMNS, MOUTH_ROWS, AdversarialLoss
from personatalk.training.loop import STATE_NAME, TrainState, on_cpu, to_device, train

Model = TypeVar("Model", bound=nn.Module)
MOUTH_ZOOM = 1.5
VALIDATION_BATCHES, VALIDATION_BATCH = 8, 8
PERCEPTUAL_DB = 20.0  # what one unit of perceptual distance is worth when the best step is chosen


def render_batch(model: DualAttentionRenderer, batch: RendererBatch) -> Rendering:
    """Encode the references of a batch and render its targets."""
    frames = batch.frames
    encoded = model.encode_references(frames.images.flatten(0, 1), frames.maps.flatten(0, 1))
    return model(frames.target, *frames.references(encoded.unflatten(0, frames.images.shape[:2])))


class RendererLosses:
    """The named losses of stage 2; with config.bfloat16 it computes in that precision where that is safe.

    Args:
        config: of the run.
        perceptual: frozen network whose features are compared.
        lpips: frozen network that compares mouths, a little enlarged.
        adversary: trained beside the renderer; None for a run without.
    """

    def __init__(
        self,
        config: RendererTrainingConfig,
        *,
        perceptual: EfficientNetLite0 | None = None,
        lpips: Lpips | None = None,
        adversary: AdversarialLoss | None = None,
    ) -> None:
        self.config, self.perceptual, self.lpips, self.adversary = config, perceptual, lpips, adversary

    def __call__(self, model: DualAttentionRenderer, batch: RendererBatch, step: int) -> dict[str, Tensor]:
        """Return the named, unweighted losses of a batch at a step of the run, on the batch's device."""
        with torch.autocast(batch.truth.device.type, dtype=torch.bfloat16, enabled=self.config.bfloat16):
            return self._losses(model, batch, step)

    def _losses(self, model: DualAttentionRenderer, batch: RendererBatch, step: int) -> dict[str, Tensor]:
        rendering = render_batch(model, batch)
        mask, truth = batch.frames.target.mask, batch.truth
        lips = lip_region(batch)
        weight = mask * (1 + self.config.lip_weight * lips)
        weight = weight / weight.mean()
        faces = rendering.faces.float()
        composed = faces * mask + truth * (1 - mask)
        losses = {
            "reconstruction": reconstruction_difference(faces, truth, weight),
            "samples": sample_difference(rendering, truth, mask, lips),
            "gradient": gradient_difference(faces, truth, weight),
        }
        if self.adversary is not None:
            geometry = batch.frames.target.geometry
            losses |= self.adversary.losses_at(step, self.config, fake=composed, real=truth, geometry=geometry)
        if "temporal" in self.config.loss_weights:
            losses["temporal"] = step_difference(faces, truth, weight)
        if self.perceptual is not None:
            losses["perceptual"] = perceptual_difference(self.perceptual, composed, truth, weight)
        if self.lpips is not None:
            losses["lpips"] = self.lpips(*(enlarged_mouth(x) for x in (composed, truth, weight))).mean()
        return losses


def lip_region(batch: RendererBatch) -> Tensor:
    """[B, 1, H, W] in [0, 1], the lips: the geometry map's last channel, enlarged to the window."""
    size = batch.frames.target.mask.shape[-2:]
    return F.interpolate(batch.frames.target.geometry[:, -1:], size=size, mode="bilinear", align_corners=False)


def reconstruction_difference(images: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean weighted difference of pixels, plus that of means over 4 x 4 pixels, where shifts of colour show."""
    fine = ((images - truth).abs() * weight).mean()
    return fine + F.avg_pool2d((images - truth) * weight, 4).abs().mean()


def sample_difference(rendering: Rendering, truth: Tensor, mask: Tensor, lips: Tensor) -> Tensor:
    """Mean difference of what each attention layer samples: Lip-Attention in the lips, Face-Attention elsewhere."""
    face = mask * (1 - lips)
    lip_error = ((rendering.lip.texture.float() - truth).abs() * mask * lips).mean() / (mask * lips).mean()
    return lip_error + ((rendering.face.texture.float() - truth).abs() * face).mean() / face.mean()


def enlarged_mouth(images: Tensor) -> Tensor:
    """Cut the mouth out of windows [B, C, H, W], enlarged: AlexNet's first layer looks at every fourth pixel only."""
    return F.interpolate(
        images[..., MOUTH_ROWS, MOUTH_COLUMNS], scale_factor=MOUTH_ZOOM, mode="bilinear", align_corners=False
    )


def perceptual_difference(
    network: EfficientNetLite0, images: Tensor, truth: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Relative distance of the features of two images, summed over stages.

    Args:
        network: frozen.
        images: [B, 3, H, W] in [0, 1].
        truth: the same.
        weight: [B, 1, H, W] of the pixels; 1 everywhere without it.
    """
    with torch.no_grad():
        true_features = network.features(truth)
    distance = images.new_zeros(())
    for features, true in zip(network.features(images), true_features, strict=True):
        difference = (features - true).abs()
        if weight is not None:
            difference = difference * F.adaptive_avg_pool2d(weight, (true.shape[-2], true.shape[-1]))
        distance = distance + difference.mean() / (true.abs().mean() + 1e-6)
    return distance


def gradient_difference(images: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean weighted difference of the images' gradients, so that edges are in their places."""
    difference = images - truth
    across = (difference[..., 1:] - difference[..., :-1]).abs() * weight[..., 1:]
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * weight[..., 1:, :]
    return across.mean() + down.mean()


def step_difference(images: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean difference of the steps from each frame to the next: [].

    Args:
        images: [B, 3, H, W], frames 2 n and 2 n + 1 follow each other.
        truth: the same.
        weight: [B, 1, H, W] of the pixels.
    """
    error = images - truth
    return ((error[1::2] - error[::2]).abs() * weight[::2]).mean()


def region_psnr(images: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """[B] PSNR in dB of images [B, 3, H, W] in [0, 1] within a soft region [B, 1, H, W]."""
    error = ((images.clamp(0, 1) - truth).square() * region).flatten(1).sum(1) / (3 * region.flatten(1).sum(1))
    return -10 * torch.log10(error + 1e-10)


@torch.no_grad()
def validate_renderer(
    model: DualAttentionRenderer, batches: list[RendererBatch], perceptual: EfficientNetLite0
) -> dict[str, float]:
    """Measure on samples of held-out persons, each person being drawn as often as any other.

    Returns:
        PSNR of the lower face and of the lips, and of Lip-Attention's sample there, dB; `perceptual`, relative
        distance of features; `sharpness`, mean gradient in the lips as a share of the truth's; `loss`, which weighs
        a decibel as much as .02 of perceptual distance.
    """
    rows = []
    for batch in batches:
        batch = to_device(batch, device_of(model))
        rendering, mask = render_batch(model, batch), batch.frames.target.mask
        region = ((lip_region(batch) > 0.5) & (mask > 0.5)).float()
        composed = rendering.faces.clamp(0, 1) * mask + batch.truth * (1 - mask)
        rows.append(
            torch.stack(
                [
                    region_psnr(rendering.faces, batch.truth, (mask > 0.5).float()).mean(),
                    region_psnr(rendering.faces, batch.truth, region).mean(),
                    region_psnr(rendering.lip.texture, batch.truth, region).mean(),
                    perceptual_difference(perceptual, composed, batch.truth),
                    edges(composed, region) / edges(batch.truth, region),
                ]
            )
        )
    lower, lips_db, sampled, distance, sharpness = torch.stack(rows).mean(0).tolist()
    return {
        "loss": PERCEPTUAL_DB * distance - (lower + lips_db) / 2,
        "lower_psnr": lower,
        "lips_psnr": lips_db,
        "lip_sample_psnr": sampled,
        "perceptual": distance,
        "sharpness": sharpness,
    }


def edges(images: Tensor, region: Tensor) -> Tensor:
    """Mean difference of neighbouring pixels of images [B, 3, H, W] in a region [B, 1, H, W]: []."""
    return ((images[..., 1:] - images[..., :-1]).abs() * region[..., 1:]).sum() / region.sum()


def train_renderer(
    corpus: Path,
    clips: list[Clip],
    folder: Path,
    *,
    checkpoints: Path,
    config: RendererTrainingConfig,
    model_config: RendererConfig,
    start_from: Path | None = None,
    device: torch.device | str = "cpu",
) -> DualAttentionRenderer:
    """Train, or go on training, stage 2.

    Args:
        corpus: folder that `preprocess` filled.
        clips: of the manifest; splits decide.
        folder: of the run; an existing state is continued.
        checkpoints: where face model and perceptual networks lie.
        config: of the run.
        model_config: of the renderer.
        start_from: weights to begin with, where the folder holds no state.
        device: where it is trained and validated; batches are built on the CPU.

    Returns:
        the averaged model after the last step, on the CPU.

    Raises:
        PersonaTalkError: the corpus holds no windows of training clips, or none of validation clips.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mesh = FaceMesh(FaceModel.load(checkpoints / "face_model.safetensors"))
    training, held_out = datasets_of(corpus, clips, mesh, config, model_config)
    perceptual = EfficientNetLite0.load(checkpoints / "efficientnet_lite0.safetensors").to(device)
    state, adversary = begin(folder, config, model_config, start_from, device)
    has_lpips = "lpips" in config.loss_weights
    losses = RendererLosses(
        config,
        perceptual=perceptual if "perceptual" in config.loss_weights else None,
        lpips=Lpips.load(*(checkpoints / name for name in LPIPS_FILES)).to(device) if has_lpips else None,
        adversary=adversary,
    )
    batches = [held_out.batch_at(step, VALIDATION_BATCH, seed=1) for step in range(VALIDATION_BATCHES)]
    train(
        state,
        config,
        losses_of=lambda model, batch: losses(model, batch, state.step),
        batch_at=Prefetcher(lambda step: training.batch_at(step, config.batch_size, config.seed)),
        validate=lambda model: validate_renderer(model, batches, perceptual),
        watch="loss",
        folder=folder,
    )
    return on_cpu(state.ema)


def datasets_of(
    corpus: Path, clips: list[Clip], mesh: FaceMesh, config: RendererTrainingConfig, model_config: RendererConfig
) -> tuple[RendererDataset, RendererDataset]:
    """Build the samples of the training persons and of the held-out ones.

    Raises:
        PersonaTalkError: either has no clip with windows.
    """
    sizes: dict[str, Any] = dict(
        num_lip=model_config.num_lip_references, num_face=model_config.num_face_references, bank_size=config.bank_size
    )
    training = RendererDataset(
        corpus,
        [clip for clip in clips if clip.split == "train"],
        mesh,
        **sizes,
        disturbed_share=config.disturbed_share,
        prior_share=config.prior_share if model_config.has_texture_prior else 0.0,
        in_pairs="temporal" in config.loss_weights,
    )
    of_others = [clip for clip in clips if clip.split == "val"]
    held_out = RendererDataset(corpus, of_others, mesh, **sizes, prior_share=float(model_config.has_texture_prior))
    require_persons(corpus, train=training.persons, val=held_out.persons)
    return training, held_out


def require_persons(corpus: Path, **persons: list[str]) -> None:
    """Refuse a corpus that has nobody in a split, each split's persons given by its name.

    Raises:
        PersonaTalkError: nobody is in a split.
    """
    for split, some in persons.items():
        if not some:
            raise PersonaTalkError(f"{corpus} holds no windows of clips of the split {split}; run preprocess first")


def begin(
    folder: Path,
    config: RendererTrainingConfig,
    model_config: RendererConfig,
    start_from: Path | None = None,
    device: torch.device | str = "cpu",
) -> tuple[TrainState[DualAttentionRenderer], AdversarialLoss | None]:
    """Build what a run trains, from its saved state, from given weights, or anew."""
    return open_run(folder, DualAttentionRenderer(model_config), config, device, start_from=start_from)


def open_run(
    folder: Path,
    model: Model,
    config: TrainingConfig,
    device: torch.device | str,
    *,
    start_from: Path | None = None,
) -> tuple[TrainState[Model], AdversarialLoss | None]:
    """Bring a model to a device, with its optimizer, and a discriminator if one is asked for; load a saved state.

    Args:
        folder: of the run; an existing state is continued.
        model: with random weights.
        config: of the run.
        device: where it is trained.
        start_from: weights to begin with, where the folder holds no state.

    Raises:
        CheckpointError: the folder's state is of another run, or the weights are another model's.
    """
    if start_from:
        load_into(model, start_from)
    model = model.to(device).to(memory_format=torch.channels_last)
    adversary = AdversarialLoss(device=device) if "adversarial" in config.loss_weights else None
    state = TrainState(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay),
        extras={"adversary": adversary} if adversary else {},
    )
    if (folder / STATE_NAME).exists():
        state.load(folder / STATE_NAME)
    return state, adversary
