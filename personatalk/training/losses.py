"""Losses of any training: their weighted sum, and means over what counts."""

from __future__ import annotations

from torch import Tensor

Losses = dict[str, Tensor]


def weighted_sum(losses: Losses, weights: dict[str, float]) -> Tensor:
    """Add the losses up, refusing a weight without a loss or a loss without a weight.

    Raises:
        ValueError: the names differ; the message lists which.
    """
    if difference := sorted(losses.keys() ^ weights.keys()):
        raise ValueError(f"losses and weights name different terms: {difference}")
    first, *others = (weights[name] * loss for name, loss in losses.items())
    return sum(others, first)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is true; 0 where it is true nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
