"""Metrics against a right map, and of error bars, against loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from iassa.errors import InputError
from iassa.metrics import error_coverage, right_order, right_signs


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_a_loop_over_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    saliency = rng.integers(-3, 4, (4, 7)).astype(float)
    right = rng.integers(0, 3, (4, 7)).astype(float)
    agree = pairs = 0
    for one in range(28):
        for other in range(one):
            by = np.sign(right.flat[one] - right.flat[other])
            agree += by * np.sign(saliency.flat[one] - saliency.flat[other])
            pairs += abs(by)
    assert right_order(saliency, right) == pytest.approx(agree / pairs, abs=1e-9)
    assert right_order(np.exp(right), right) == 1.0
    assert right_order(-right, right) == -1.0
    assert right_order(np.ones((4, 7)), right) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_the_signs_are_a_loop_over_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    saliency = rng.integers(-1, 2, (5, 4)).astype(float)
    right = rng.integers(-2, 3, (5, 4)).astype(float)
    shares = []
    for sign in (1, -1):
        points = [
            1.0 if np.sign(s) == sign else 0.5 if s == 0 else 0.0
            for s, r in zip(saliency.flat, right.flat, strict=True)
            if np.sign(r) == sign
        ]
        shares.append(sum(points) / len(points))
    assert right_signs(saliency, right) == pytest.approx(sum(shares) / 2)
    assert right_signs(saliency, abs(right)) == pytest.approx(
        np.mean([0.5 + 0.5 * np.sign(s) for s in saliency[right != 0]])
    )


def test_errors_that_are_right_hold_95_percent() -> None:
    rng = np.random.default_rng(0)
    error = rng.uniform(0.1, 2.0, (200, 300))
    first, second = rng.normal(0, error), rng.normal(0, error)
    assert error_coverage(first, second, error, error) == pytest.approx(0.95, abs=0.005)
    assert error_coverage(first, second, error / 2, error / 2) == pytest.approx(0.673, abs=0.01)
    unknown = np.where(np.arange(300) < 150, np.inf, error)
    kept = error_coverage(first[:, 150:], second[:, 150:], error[:, 150:], error[:, 150:])
    assert error_coverage(first, second, unknown, error) == kept
    assert math.isnan(error_coverage(first, second, np.full_like(error, np.inf), error))
    assert error_coverage(first, first, 0 * error, 0 * error) == 1.0
    rounded = first * (1 + 1e-7)
    assert error_coverage(first, rounded, 0 * error, 0 * error) == 1.0


def test_unlike_maps_are_refused() -> None:
    one, other = np.ones((3, 4)), np.eye(4)
    for refuse in (lambda: right_order(one, other), lambda: right_signs(one, other)):
        with pytest.raises(InputError, match="expected a right map of shape"):
            refuse()
    with pytest.raises(InputError, match="not flat"):
        right_order(one, one)
    with pytest.raises(InputError, match="not 0 everywhere"):
        right_signs(one, 0 * one)
    with pytest.raises(InputError, match="of one shape"):
        error_coverage(one, one, other, other)
