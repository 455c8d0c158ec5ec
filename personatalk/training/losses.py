"""Training losses, each a function of tensors; one place adds them up."""

from __future__ import annotations

from torch import Tensor


def weighted_sum(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Add the losses up, refusing a weight without a loss or a loss without a weight.

    Raises:
        ValueError: the names differ; the message lists which.
    """
    if difference := sorted(losses.keys() ^ weights.keys()):
        raise ValueError(f"losses and weights name different terms: {difference}")
    return sum(weights[name] * loss for name, loss in losses.items())
