"""Train the occluder network on faces with things drawn before them."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from personatalk.face_rendering.inputs import device_of
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mesh import FaceMesh
from personatalk.occlusion.network import OccluderConfig, OccluderNetwork
from personatalk.training.config import OccluderTrainingConfig
from personatalk.training.corpus import Clip
from personatalk.training.face_rendering.dataset import Prefetcher
from personatalk.training.face_rendering.train import open_run, require_persons
from personatalk.training.loop import on_cpu, to_device, train
from personatalk.training.losses import Losses
from personatalk.training.occlusion.dataset import OccluderBatch, OccluderDataset

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


def train_occluder(
    corpus: Path,
    clips: list[Clip],
    folder: Path,
    *,
    checkpoints: Path,
    config: OccluderTrainingConfig,
    model_config: OccluderConfig,
    start_from: Path | None = None,
    device: torch.device | str = "cpu",
) -> OccluderNetwork:
    """Train, or go on training, the occluder network.

    Args:
        corpus: folder that `preprocess` filled.
        clips: of the manifest; splits decide.
        folder: of the run; an existing state is continued.
        checkpoints: where the face model lies.
        config: of the run.
        model_config: of the network.
        start_from: weights to begin with, where the folder holds no state.
        device: where it is trained and validated; batches are built on the CPU.

    Returns:
        the averaged model after the last step, on the CPU.

    Raises:
        PersonaTalkError: the corpus holds no windows of training clips, or none of validation clips.
        CheckpointError: the folder's state is of another run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mesh = FaceMesh(FaceModel.load(checkpoints / "face_model.safetensors"))
    training = OccluderDataset(corpus, [clip for clip in clips if clip.split == "train"], mesh)
    held_out = OccluderDataset(corpus, [clip for clip in clips if clip.split == "val"], mesh)
    require_persons(corpus, train=training.persons, val=held_out.persons)
    state, _ = open_run(folder, OccluderNetwork(model_config), config, device, start_from=start_from)
    batches = [held_out.batch_at(step, VALIDATION_BATCH, seed=1) for step in range(VALIDATION_BATCHES)]
    train(
        state,
        config,
        losses_of=losses_of,
        batch_at=Prefetcher(lambda step: training.batch_at(step, config.batch_size, config.seed)),
        validate=lambda network: validate_occluder(network, batches),
        watch="loss",
        folder=folder,
    )
    return on_cpu(state.ema)
