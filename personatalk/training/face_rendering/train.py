"""Train stage 2: draw frames of a clip, hide the mouth, render it again from other frames of the clip."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.inputs import device_of
from personatalk.face_rendering.renderer import DualAttentionRenderer, Rendering
from personatalk.metrics.perceptual import LPIPS_FILES, EfficientNetLite0, Lpips
from personatalk.training.config import RendererTrainingConfig
from personatalk.training.face_rendering.dataset import RendererBatch, RendererDataset
from personatalk.training.face_rendering.discriminator import MOUTH_COLUMNS, MOUTH_ROWS, AdversarialLoss
from personatalk.training.loop import to_device
from personatalk.training.window_run import WindowRun, validation_batches

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
    run: WindowRun, config: RendererTrainingConfig, model_config: RendererConfig
) -> DualAttentionRenderer:
    """Train, or go on training, stage 2.

    Args:
        run: its places.
        config: of the run.
        model_config: of the renderer.

    Returns:
        the averaged model after the last step, on the CPU.

    Raises:
        PersonaTalkError: the corpus holds no windows of training clips, or none of validation clips.
        CheckpointError: the folder's state is of another run.
    """
    training, held_out = datasets_of(run, config, model_config)
    perceptual = EfficientNetLite0.load(run.checkpoints / "efficientnet_lite0.safetensors").to(run.device)
    state, adversary = run.open(DualAttentionRenderer(model_config), config)
    has_lpips = "lpips" in config.loss_weights
    losses = RendererLosses(
        config,
        perceptual=perceptual if "perceptual" in config.loss_weights else None,
        lpips=Lpips.load(*(run.checkpoints / name for name in LPIPS_FILES)).to(run.device) if has_lpips else None,
        adversary=adversary,
    )
    batches = validation_batches(held_out, VALIDATION_BATCHES, VALIDATION_BATCH)
    return run.learn(
        state,
        config,
        training,
        losses_of=lambda model, batch: losses(model, batch, state.step),
        validate=lambda model: validate_renderer(model, batches, perceptual),
    )


def datasets_of(
    run: WindowRun, config: RendererTrainingConfig, model_config: RendererConfig
) -> tuple[RendererDataset, RendererDataset]:
    """Build the samples of the training persons and of the held-out ones.

    Raises:
        PersonaTalkError: either has no clip with windows.
    """
    mesh = run.mesh()
    sizes: dict[str, Any] = dict(
        num_lip=model_config.num_lip_references, num_face=model_config.num_face_references, bank_size=config.bank_size
    )
    training = RendererDataset(
        run.corpus,
        run.split("train"),
        mesh,
        **sizes,
        disturbed_share=config.disturbed_share,
        prior_share=config.prior_share if model_config.has_texture_prior else 0.0,
        in_pairs="temporal" in config.loss_weights,
    )
    prior_share = float(model_config.has_texture_prior)
    held_out = RendererDataset(run.corpus, run.split("val"), mesh, **sizes, prior_share=prior_share)
    run.require_persons(training=training, held_out=held_out)
    return training, held_out
