"""Figures of merit, each a function of arrays: pictures, lips, motion, identity, and their confidence."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch

from personatalk.face_model import LIPS, openness
from personatalk.perceptual import Lpips

NUM_RESAMPLES = 2000
LIP_INDICES = list(LIPS)


def psnr(output: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio over a region.

    Args:
        output: [..., H, W, 3] in [0, 255].
        truth: as output.
        mask: [..., H, W] weight at least 0; everything counts where it is None.

    Returns:
        dB; infinite where the two are equal.

    Raises:
        ValueError: the mask is empty.
    """
    squares = np.square(output.astype(np.float64) - truth).mean(-1)
    weight = np.ones(squares.shape) if mask is None else np.broadcast_to(mask, squares.shape).astype(np.float64)
    if weight.sum() == 0:
        raise ValueError("PSNR over an empty mask")
    error = (squares * weight).sum() / weight.sum()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def lpips_distance(network: Lpips, output: np.ndarray, truth: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """Mean LPIPS of a part of the pictures.

    Args:
        network: the frozen network.
        output: [N, H, W, 3] in [0, 255].
        truth: as output.
        box: left, top, right, bottom px; a box under 64 px is enlarged, because AlexNet begins with a stride of 4.
    """
    with torch.no_grad():
        return float(network(crop_for_lpips(output, box), crop_for_lpips(truth, box)).mean())


def crop_for_lpips(images: np.ndarray, box: tuple[int, int, int, int]) -> torch.Tensor:
    """Cut a box out of images [N, H, W, 3] in [0, 255]: [N, 3, h, w] in [0, 1], at least 64 px wide and high."""
    left, top, right, bottom = box
    part = torch.from_numpy(np.ascontiguousarray(images[:, top:bottom, left:right])).float().permute(0, 3, 1, 2)
    scale = max(1.0, 64 / min(part.shape[-2:]))
    return torch.nn.functional.interpolate(part / 255, scale_factor=scale, mode="bilinear")


def sharpness_ratio(output: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """How much fine detail the output has, as a share of the truth's: variance of the Laplacian of the luma.

    Args:
        output: [H, W, 3] in [0, 255].
        truth: as output.
        mask: [H, W] bool.

    Returns:
        1 where the two are equally sharp, less where the output is blurred.
    """
    variances = [
        cv2.Laplacian(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY), cv2.CV_32F)[mask].var()
        for image in (output, truth)
    ]
    return float(variances[0] / max(variances[1], 1e-12))


def temporal_error(output: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """How far the change from frame to frame differs from the true change: mean |dI(out) - dI(true)|.

    Args:
        output: [T, H, W, 3] in [0, 255].
        truth: as output.
        mask: [H, W] or [T, H, W] weight; a change counts with the weight of its later frame.

    Returns:
        levels of 255.
    """
    changes = np.diff(output.astype(np.float32), axis=0) - np.diff(truth.astype(np.float32), axis=0)
    weight = np.broadcast_to(mask, output.shape[:-1])[1:].astype(np.float64)
    return float((np.abs(changes).mean(-1) * weight).sum() / weight.sum())


def seam_gradient_ratio(output: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Mean gradient across the edge of a mask, as a share of the true frame's there.

    Args:
        output: [H, W, 3] in [0, 255].
        truth: as output.
        mask: [H, W] bool, what was repainted.

    Returns:
        1 where no seam shows, more where there is one.
    """
    gradients = []
    for image in (output, truth):
        image = image.astype(np.float32)
        total, count = 0.0, 0
        for axis in (0, 1):
            across = np.diff(mask.astype(np.int8), axis=axis) != 0
            total += np.abs(np.diff(image, axis=axis)).mean(-1)[across].sum()
            count += across.sum()
        gradients.append(total / max(count, 1))
    return float(gradients[0] / max(gradients[1], 1e-12))


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


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation of two series [T]; not a number where either stands still."""
    a, b = first - first.mean(), second - second.mean()
    still = any(c.std() <= 1e-6 * (np.abs(series).max() + 1e-12) for c, series in ((a, first), (b, second)))
    return float("nan") if still else float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def deviation_ratio(output: np.ndarray, truth: np.ndarray) -> float:
    """Standard deviation of a series [T], as a share of the true one's: under 1 is mumbling."""
    return float(output.std() / max(truth.std(), 1e-12))


def lip_vertex_error(output: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of the lip vertices: [T, V, 3] each, same unit back."""
    return float(np.linalg.norm(output[:, LIP_INDICES] - truth[:, LIP_INDICES], axis=-1).mean())


def lip_velocity_error(output: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of the steps that lip vertices take from frame to frame: [T, V, 3] each, unit per frame."""
    return lip_vertex_error(np.diff(output, axis=0), np.diff(truth, axis=0))


def jitter(series: np.ndarray) -> float:
    """Mean length of the second difference of a series [T, ...]: what shakes, not what moves evenly."""
    second = np.diff(series, n=2, axis=0)
    return float(np.linalg.norm(second.reshape(len(second), -1), axis=1).mean())


def openness_scores(output: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compare how the mouth opens: [T, V, 3] each."""
    a, b = openness(output), openness(truth)
    return {"openness_r": correlation(a, b), "deviation_ratio": deviation_ratio(a, b)}


def best_lag(output: np.ndarray, truth: np.ndarray, max_lag: int) -> tuple[int, float]:
    """Find the shift at which two series agree best.

    Args:
        output: [T].
        truth: [T].
        max_lag: frames either way.

    Returns:
        frames by which the output comes after the truth, and the correlation there.
    """
    scores = {}
    for lag in range(-max_lag, max_lag + 1):
        a, b = output[max(lag, 0) :], truth[max(-lag, 0) :]
        length = min(len(a), len(b))
        scores[lag] = correlation(a[:length], b[:length])
    best = max(scores, key=lambda lag: np.nan_to_num(scores[lag], nan=-2.0))
    return best, scores[best]


def identity_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean Euclidean distance of embeddings [N, 128], row by row."""
    return float(np.linalg.norm(first - second, axis=-1).mean())


def confidence_interval(
    values: np.ndarray, statistic: Callable[..., np.ndarray] = np.mean, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of a statistic over clips, by resampling the clips with replacement.

    Args:
        values: [N]; those that are no numbers are left out.
        statistic: of one axis, such as np.mean.
        level: share of resamples inside.

    Returns:
        low, high; both the statistic itself where there is one value only.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(0, len(values), (NUM_RESAMPLES, len(values)))
    low, high = np.quantile(statistic(values[draws], axis=1), ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def summarise(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and interval of each figure over clips; what is no number in a clip is left out and counted.

    Returns:
        name to mean, low, high, count.
    """
    summary = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = np.array([row.get(name, np.nan) for row in rows], np.float64)
        finite = values[np.isfinite(values)]
        low, high = confidence_interval(finite)
        mean = float(finite.mean()) if len(finite) else float("nan")
        summary[name] = {"mean": mean, "low": low, "high": high, "count": len(finite)}
    return summary
