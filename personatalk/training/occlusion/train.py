"""Train the occluder network on faces with things drawn before them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from personatalk.face_rendering.inputs import device_of
from personatalk.occlusion.network import OccluderConfig, OccluderNetwork
from personatalk.training.config import OccluderTrainingConfig
from personatalk.training.loop import to_device
from personatalk.training.losses import Losses
from personatalk.training.occlusion.dataset import OccluderBatch, OccluderDataset
from personatalk.training.window_run import WindowRun, validation_batches

AROUND = 0.2  # what a pixel beside the face counts: there a collar is no occluder and a cup is one
VALIDATION_BATCHES, VALIDATION_BATCH = 12, 32
HIDDEN = 0.02  # of the face, from which something stands before it


def losses_of(network: OccluderNetwork, batch: OccluderBatch) -> Losses:
    """Return cross-entropy, and one less the overlap of what is found with what is there (Dice, arXiv 1606.04797)."""
    logits = network(batch.windows, batch.geometry).float()
    weight = AROUND + (1 - AROUND) * batch.face
    entropy = F.binary_cross_entropy_with_logits(logits, batch.truth, weight, reduction="sum") / weight.sum()
    found = torch.sigmoid(logits) * batch.face
    truth = batch.truth * batch.face
    both, either = (found * truth).sum((1, 2, 3)), (found + truth).sum((1, 2, 3))
    overlap = (2 * both + 1) / (either + 1)
    return {"entropy": entropy, "overlap": 1 - overlap.mean()}


@torch.no_grad()
def validate_occluder(network: OccluderNetwork, batches: list[OccluderBatch]) -> dict[str, float]:
    """Measure on faces of held-out persons, inside the face.

    Returns:
        `iou` where something stands before the face; `false_share`, which share of the others' faces is taken for
        something; `loss`, which is lower where both are better.
    """
    sums: list[Tensor] = []
    for batch in batches:
        batch = to_device(batch, device_of(network))
        found = (network(batch.windows, batch.geometry).float() > 0) & (batch.face > 0.5)
        truth = (batch.truth > 0.5) & (batch.face > 0.5)
        area = (batch.face > 0.5).sum((1, 2, 3))
        is_hidden = truth.sum((1, 2, 3)) > HIDDEN * area
        overlap = (found & truth).sum((1, 2, 3)) / (found | truth).sum((1, 2, 3)).clamp(min=1)
        is_bare, share = truth.sum((1, 2, 3)) == 0, found.sum((1, 2, 3)) / area.clamp(min=1)
        sums.append(
            torch.stack([row.float().sum() for row in (overlap * is_hidden, is_hidden, share * is_bare, is_bare)])
        )
    overlap, num_hidden, share, num_bare = torch.stack(sums).sum(0).tolist()
    iou, false_share = overlap / max(num_hidden, 1), share / max(num_bare, 1)
    return {"loss": 1 - iou + false_share, "iou": iou, "false_share": false_share}


def train_occluder(run: WindowRun, config: OccluderTrainingConfig, model_config: OccluderConfig) -> OccluderNetwork:
    """Train, or go on training, the occluder network.

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
    training, held_out = (OccluderDataset(run.corpus, run.split(name), mesh) for name in ("train", "val"))
    run.require_persons(training=training, held_out=held_out)
    state, _ = run.open(OccluderNetwork(model_config), config)
    batches = validation_batches(held_out, VALIDATION_BATCHES, VALIDATION_BATCH)
    return run.learn(
        state,
        config,
        training,
        losses_of=losses_of,
        validate=lambda network: validate_occluder(network, batches),
    )
