"""Agreement of geometry over time: correlation, deviation ratio, vertex and velocity errors, jitter, lag."""

from __future__ import annotations

import numpy as np

from personatalk.geometry.face_model import LIPS
from personatalk.geometry.mouth import lip_aperture

LIP_INDICES = list(LIPS)


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


def aperture_scores(output: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compare how the mouth opens: [T, V, 3] each."""
    a, b = lip_aperture(output), lip_aperture(truth)
    return {"aperture_r": correlation(a, b), "deviation_ratio": deviation_ratio(a, b)}


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
