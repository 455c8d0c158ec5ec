"""How steadily attention holds on to its references."""

from __future__ import annotations

import numpy as np


def attention_change(weights: np.ndarray, frames: np.ndarray, share: np.ndarray) -> float:
    """How much of an attention layer's weight changes references, a place and a frame step.

    Args:
        weights: [N, K, h, w] of consecutive frames, sum to 1 over K.
        frames: [N, K] which reference frame each of the K is; one that changes its place among the K has not changed.
        share: [N, h, w] how much a place counts.

    Returns:
        0 where nothing changes, 1 where every place goes over to other references each frame.
    """
    by_frame = _by_frame(weights, frames)
    changed = np.abs(np.diff(by_frame, axis=0)).sum(1) / 2
    return _mean_over_steps(changed, share)


def offset_change(weights: np.ndarray, offsets: np.ndarray, frames: np.ndarray, share: np.ndarray) -> float:
    """How far the place beside the mesh's correspondence moves from which a pixel is taken, a frame step.

    Args:
        weights: [N, K, h, w], as of `attention_change`, like frames and share.
        offsets: [N, K, 2, h, w] px.

    Returns:
        px; over the weight that stays with its reference.
    """
    by_frame = _by_frame(weights, frames)
    steps = _by_frame(offsets * weights[:, :, None], frames) / np.maximum(by_frame, 1e-9)[:, :, None]
    stays = np.minimum(by_frame[1:], by_frame[:-1])
    moved = np.linalg.norm(np.diff(steps, axis=0), axis=2)
    return _mean_over_steps((stays * moved).sum(1) / np.maximum(stays.sum(1), 1e-9), share)


def _by_frame(values: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Add values [N, K, ...] up by the reference that they belong to: [N, R, ...]."""
    known = np.unique(frames)
    summed = np.zeros((len(values), len(known), *values.shape[2:]), np.float32)
    for row, numbers, some in zip(summed, frames, values, strict=True):
        np.add.at(row, np.searchsorted(known, numbers), some)
    return summed


def _mean_over_steps(change: np.ndarray, share: np.ndarray) -> float:
    """Mean of change [N - 1, h, w], where a place counts as much as it does in both frames."""
    weight = (share[1:] + share[:-1]) / 2
    return float((change * weight).sum() / max(weight.sum(), 1e-9))
