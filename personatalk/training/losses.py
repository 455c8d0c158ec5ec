"""Training losses, each a function of tensors; one place adds them up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from personatalk.face_model import LIP_PAIRS, LIPS, FaceModel


def weighted_sum(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Add the losses up, refusing a weight without a loss or a loss without a weight.

    Raises:
        ValueError: the names differ; the message lists which.
    """
    if difference := sorted(losses.keys() ^ weights.keys()):
        raise ValueError(f"losses and weights name different terms: {difference}")
    return sum(weights[name] * loss for name, loss in losses.items())


PERCENT = 100.0  # lengths inside the losses of stage 1 are in percent of the inter-ocular distance
LIP_LOSS_WEIGHT = 10.0
CLOSED_PERCENT = 2.0  # inner lips nearer than this are closed
MIN_DEVIATION_FRAMES = 10


@dataclass(frozen=True)
class SpeechMetric:
    """Measures speech coefficients as the vertices that they move.

    Attributes:
        gram: [K, K], so that a difference d of coefficients costs d @ gram @ d: the weighted mean squared
            vertex distance, in squared percent of the inter-ocular distance.
        gap_basis: [K, 3, 3] percent, what each coefficient does to the three gaps between the inner lips.
    """

    gram: Tensor
    gap_basis: Tensor

    @classmethod
    def of(cls, face_model: FaceModel) -> SpeechMetric:
        """Prepare for a face model: lips weigh ten times what other vertices weigh."""
        weight = np.ones(face_model.mean.shape[0])
        weight[list(LIPS)] = LIP_LOSS_WEIGHT
        basis = face_model.speech_basis.astype(np.float64) * PERCENT
        gram = np.einsum("kvc,v,lvc->kl", basis, weight / weight.sum(), basis)
        upper, lower = np.array(LIP_PAIRS).T
        return cls(torch.from_numpy(gram).float(), torch.from_numpy(basis[:, upper] - basis[:, lower]).float())

    def squared(self, difference: Tensor) -> Tensor:
        """Weighted mean squared vertex distance [...] of a difference of coefficients [..., K]."""
        return ((difference @ self.gram) * difference).sum(-1)

    def openness(self, expression: Tensor, template: Tensor) -> Tensor:
        """Openness of the mouth in percent.

        Args:
            expression: [B, T, K]
            template: [B, V, 3] IOD.

        Returns:
            [B, T]
        """
        upper, lower = torch.tensor(LIP_PAIRS).T
        gap = PERCENT * (template[:, upper] - template[:, lower])
        moved = gap[:, None] + torch.einsum("btk,kpc->btpc", expression, self.gap_basis)
        return (moved.square().sum(-1) + 1e-4).sqrt().mean(-1)


def geometry_losses(
    predicted: Tensor, target: Tensor, valid: Tensor, template: Tensor, metric: SpeechMetric
) -> dict[str, Tensor]:
    """Compare predicted and true speech coefficients.

    Lengths are in percent of the inter-ocular distance. `vertex` is the squared distance of the vertices, lips
    first; `velocity` the same of their steps from frame to frame; `openness` the squared error of the opening;
    `closure` how far a mouth stands open that should be closed; `deviation` how much less or more than in truth the
    opening, and the face as a whole, move within an excerpt. Squared error alone makes people mumble; the last
    term counters it.

    Args:
        predicted: [B, T, K]
        target: [B, T, K]
        valid: [B, T] bool, the frames that count.
        template: [B, V, 3] IOD.

    Returns:
        named losses, each [].
    """
    both = valid[:, 1:] & valid[:, :-1]
    opened, should_open = metric.openness(predicted, template), metric.openness(target, template)
    error = opened - should_open
    return {
        "vertex": masked_mean(metric.squared(predicted - target), valid),
        "velocity": masked_mean(metric.squared(predicted.diff(dim=1) - target.diff(dim=1)), both),
        "openness": masked_mean(error.square(), valid),
        "closure": masked_mean(error.clamp(min=0).square(), valid & (should_open < CLOSED_PERCENT)),
        "deviation": deviation_loss(opened[..., None], should_open[..., None], valid)
        + deviation_loss(predicted * metric.gram.diagonal().sqrt(), target * metric.gram.diagonal().sqrt(), valid),
    }


def deviation_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Squared difference of standard deviations over time.

    Args:
        predicted: [B, T, C]
        target: [B, T, C]
        valid: [B, T] bool.

    Returns:
        [] summed over C, mean over the excerpts with at least 10 valid frames.

    Ours: the paper does not speak of it.
    """
    count = valid.sum(1)
    weight = (valid / count.clamp(min=1)[:, None])[..., None]

    def deviation(values: Tensor) -> Tensor:
        centred = values - (values * weight).sum(1, keepdim=True)
        return ((centred.square() * weight).sum(1) + 1e-4).sqrt()

    squared = (deviation(predicted) - deviation(target)).square().sum(-1)
    return masked_mean(squared, count >= MIN_DEVIATION_FRAMES)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is true; 0 where it is true nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
