"""Logistic regression by scikit-learn, with the penalty given for each example instead of for all together."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

MAX_ITERATIONS, TOLERANCE = 500, 1e-7  # of the gradient


def fit_logistic(
    inputs: np.ndarray, target: np.ndarray, *, decay: float, weight: np.ndarray | None = None
) -> LogisticRegression:
    """Fit the mean logistic loss plus `decay` times the sum of squared slopes; the intercept is free.

    Args:
        inputs: [N, I]
        target: [N] 0 or 1, both present.
        decay: greater than 0; the penalty does not depend on N.
        weight: [N] of the examples, 1 on average; all 1 where None.
    """
    model = LogisticRegression(C=1 / (2 * len(inputs) * decay), max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    return model.fit(inputs, target, sample_weight=weight)
