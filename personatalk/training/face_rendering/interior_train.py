"""Train the mouth interior: open mouths are painted again from frames of the clip whose mouths are less open."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from personatalk.face_rendering.inputs import device_of
from personatalk.face_rendering.mouth_interior import (
    COLUMNS,
    MAP_COLUMNS,
    MAP_ROWS,
    ROWS,
    MouthInterior,
    MouthInteriorConfig,
    in_window,
)
from personatalk.metrics.perceptual import LPIPS_FILES, Lpips
from personatalk.training.config import InteriorTrainingConfig
from personatalk.training.face_rendering.discriminator import AdversarialLoss
from personatalk.training.face_rendering.interior_dataset import InteriorBatch, InteriorDataset
from personatalk.training.face_rendering.train import gradient_difference, region_psnr
from personatalk.training.loop import to_device
from personatalk.training.window_run import WindowRun, validation_batches

LIP_ROWS, LIP_COLUMNS = slice(24, 88), slice(16, 96)  # px of ROWS and COLUMNS: where mouths are compared
LIP_ZOOM = 1.25
VALIDATION_BATCHES, VALIDATION_BATCH = 8, 16
LPIPS_DB = 40.0  # what one unit of LPIPS is worth when the best step is chosen


def paint_batch(model: MouthInterior, batch: InteriorBatch) -> tuple[Tensor, Tensor]:
    """Paint the mouths of a batch: the true windows with painted gaps, [B, 3, H, W], and the gaps, [B, 1, H, W]."""
    painted = model(batch.image[..., ROWS, COLUMNS], batch.maps, batch.geometry[..., MAP_ROWS, MAP_COLUMNS]).float()
    hole = in_window(batch.maps[:, :1])
    return torch.lerp(batch.truth, in_window(painted), hole), hole


class InteriorLosses:
    """The named losses of the mouth interior.

    Args:
        config: of the run.
        lpips: frozen network that compares mouths, a little enlarged.
        adversary: trained beside the network; None for a run without.
    """

    def __init__(self, config: InteriorTrainingConfig, lpips: Lpips, adversary: AdversarialLoss | None) -> None:
        self.config, self.lpips, self.adversary = config, lpips, adversary

    def __call__(self, model: MouthInterior, batch: InteriorBatch, step: int) -> dict[str, Tensor]:
        """Return the named, unweighted losses of a batch at a step of the run, on the batch's device."""
        with torch.autocast(batch.truth.device.type, dtype=torch.bfloat16, enabled=self.config.bfloat16):
            composed, hole = paint_batch(model, batch)
            weight = hole / hole.mean()
            losses = {
                "reconstruction": ((composed - batch.truth).abs() * weight).mean(),
                "gradient": gradient_difference(composed, batch.truth, weight),
                "lpips": self.lpips(enlarged_lips(composed), enlarged_lips(batch.truth)).mean(),
            }
            if self.adversary is not None:
                losses |= self.adversary.losses_at(
                    step, self.config, fake=composed, real=batch.truth, geometry=batch.geometry
                )
            return losses


def enlarged_lips(images: Tensor) -> Tensor:
    """Cut the lips out of windows [B, 3, H, W], enlarged: AlexNet's first layer looks at every fourth pixel only."""
    lips = images[..., ROWS, COLUMNS][..., LIP_ROWS, LIP_COLUMNS]
    return F.interpolate(lips, scale_factor=LIP_ZOOM, mode="bilinear", align_corners=False)


@torch.no_grad()
def validate_interior(model: MouthInterior, batches: list[InteriorBatch], lpips: Lpips) -> dict[str, float]:
    """Measure on mouths of held-out persons.

    Returns:
        PSNR in the gap in dB, and LPIPS of the lips, of what is painted and of what the other frame gave; `loss`, which
        weighs a decibel as much as .025 of LPIPS.
    """
    rows = []
    for batch in batches:
        batch = to_device(batch, device_of(model))
        composed, hole = paint_batch(model, batch)
        given = torch.lerp(batch.truth, batch.image, hole)
        rows.append(
            torch.stack(
                [
                    measure.mean()
                    for images in (composed.clamp(0, 1), given)
                    for measure in (
                        region_psnr(images, batch.truth, hole),
                        lpips(enlarged_lips(images), enlarged_lips(batch.truth)),
                    )
                ]
            )
        )
    psnr, distance, given_psnr, given_distance = torch.stack(rows).mean(0).tolist()
    return {
        "loss": LPIPS_DB * distance - psnr,
        "gap_psnr": psnr,
        "lips_lpips": distance,
        "given_gap_psnr": given_psnr,
        "given_lips_lpips": given_distance,
    }


def train_interior(run: WindowRun, config: InteriorTrainingConfig, model_config: MouthInteriorConfig) -> MouthInterior:
    """Train, or go on training, the mouth interior.

    Args:
        run: its places.
        config: of the run.
        model_config: of the network.

    Returns:
        the averaged model after the last step, on the CPU.

    Raises:
        PersonaTalkError: the corpus holds no windows of training clips, or none of validation clips.
        CheckpointError: the folder's state is of another run.
    """
    mesh = run.mesh()
    training = InteriorDataset(run.corpus, run.split("train"), mesh)
    held_out = InteriorDataset(run.corpus, run.split("val"), mesh, is_varied=False)
    run.require_persons(training=training, held_out=held_out)
    lpips = Lpips.load(*(run.checkpoints / name for name in LPIPS_FILES)).to(run.device)
    state, adversary = run.open(MouthInterior(model_config), config)
    losses = InteriorLosses(config, lpips, adversary)
    batches = validation_batches(held_out, VALIDATION_BATCHES, VALIDATION_BATCH)
    return run.learn(
        state,
        config,
        training,
        losses_of=lambda model, batch: losses(model, batch, state.step),
        validate=lambda model: validate_interior(model, batches, lpips),
    )
