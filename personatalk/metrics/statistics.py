"""Means and intervals over clips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NUM_RESAMPLES = 2000


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
