"""Regressions by scikit-learn: at the minimum of the loss that is promised, however many examples there are."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.training.regression import fit_logistic
from personatalk.training.style_map import map_of

DECAY = 0.01


@pytest.fixture(scope="module")
def examples():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(500, 4))
    target = random.random(500) < 1 / (1 + np.exp(1 - inputs @ (1, -2, 0.5, 0)))
    return inputs, target, random.uniform(0, 2, 500)


def test_the_gradient_of_the_penalised_loss_vanishes(examples):
    """Mean of weight * logistic loss, plus decay * squared slopes; the intercept is free."""
    inputs, target, weight = examples
    fitted = fit_logistic(inputs, target, decay=DECAY, weight=weight)
    slopes = fitted.coef_[0]
    error = weight * (1 / (1 + np.exp(-(inputs @ slopes + fitted.intercept_))) - target)
    np.testing.assert_allclose((error @ inputs) / len(inputs) + 2 * DECAY * slopes, 0, atol=1e-5)
    assert error.mean() == pytest.approx(0, abs=1e-5)


def test_examples_given_twice_change_nothing(examples):
    inputs, target, _ = examples
    once = fit_logistic(inputs, target, decay=DECAY)
    twice = fit_logistic(np.tile(inputs, (2, 1)), np.tile(target, 2), decay=DECAY)
    np.testing.assert_allclose(twice.coef_, once.coef_, atol=1e-4)


def test_the_style_map_is_that_of_a_singular_value_decomposition():
    random = np.random.default_rng(1)
    vectors, traits = random.normal(size=(30, 8)) * np.arange(8, 0, -1), random.normal(size=(30, 6))
    found = map_of(vectors, traits)
    _, singular, directions = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.axes), np.abs(directions[:2]), atol=1e-9)
    np.testing.assert_allclose(found.variance, (singular**2 / (singular**2).sum())[:2])
    np.testing.assert_allclose(
        np.sort(np.abs(found.points[:, 0])), np.sort(np.abs((vectors - found.mean) @ directions[0]))
    )
