"""Means and bootstrap intervals over clips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import bootstrap

NUM_RESAMPLES = 2000


def confidence_interval(
    values: np.ndarray, statistic: Callable[..., np.ndarray] = np.mean, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic over clips, each of which counts as one observation.

    Percentiles rather than BCa, which is undefined where all resamples agree, as for shares of 0 or 1.

    Args:
        values: [N]; those that are not finite are left out.
        statistic: with an argument `axis`, such as np.mean.
        level: confidence level.

    Returns:
        low, high; the statistic itself twice where there is one value, not a number where there is none.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        value = float(values[0]) if len(values) else float("nan")
        return value, value
    interval = bootstrap(
        (values,), statistic, n_resamples=NUM_RESAMPLES, confidence_level=level, method="percentile", rng=seed
    ).confidence_interval
    return float(interval.low), float(interval.high)


def summarise(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and interval of each figure over clips; values that are not finite are left out.

    Returns:
        name to mean, low, high, and count, the number of finite values.
    """
    summary = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = np.array([row.get(name, np.nan) for row in rows], np.float64)
        finite = values[np.isfinite(values)]
        low, high = confidence_interval(finite)
        mean = float(finite.mean()) if len(finite) else float("nan")
        summary[name] = {"mean": mean, "low": low, "high": high, "count": len(finite)}
    return summary
