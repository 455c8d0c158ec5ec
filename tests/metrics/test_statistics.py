"""Bootstrap intervals: as wide as theory says, and defined for few and for equal values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from personatalk.metrics.statistics import confidence_interval, summarise


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = confidence_interval(rng.normal(size=40))
        hits += low <= 0 <= high
    assert 180 <= hits <= 199  # 95 % of 200 is 190, deviation 3.1


def test_the_interval_of_a_mean_is_as_wide_as_the_normal_one():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = confidence_interval(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_the_interval_of_a_median_holds_the_median():
    values = np.random.default_rng(1).exponential(size=101)
    low, high = confidence_interval(values, np.median)
    assert low < np.median(values) < high < values.mean() + 0.2


def test_a_seed_gives_the_same_interval():
    values = np.random.default_rng(2).normal(size=20)
    assert confidence_interval(values, seed=1) == confidence_interval(values, seed=1)
    assert confidence_interval(values, seed=1) != confidence_interval(values, seed=2)


def test_equal_values_one_value_and_none():
    assert confidence_interval(np.ones(5)) == (1.0, 1.0)
    assert confidence_interval(np.array([2.0, np.nan])) == (2.0, 2.0)
    assert np.isnan(confidence_interval(np.array([np.nan]))).all()


def test_a_summary_leaves_out_what_is_not_finite_and_counts_the_rest():
    summary = summarise([{"r": 1.0}, {"r": 3.0}, {"r": float("nan"), "error": 2.0}])
    assert summary["r"]["mean"] == 2 and summary["r"]["count"] == 2
    assert summary["error"] == {"mean": 2.0, "low": 2.0, "high": 2.0, "count": 1}
