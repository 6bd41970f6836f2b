"""Cells of a grid from Sobol's sequence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from iassa.masks.cells import draw_designs, draw_halves

GRID = (2, 3)
ORDER = np.array([4, 0, 5, 2, 1, 3])


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("first", [0, 1, 3, 8])
def test_a_design_is_a_point_and_a_cell_of_its_other_half_at_a_time(first, count):
    points = qmc.Sobol(12, scramble=True, seed=rng()).random_base2(4).astype(np.float32)
    plan = draw_designs(first, count, GRID, ORDER, rng())
    assert len(plan) == 8 * count
    masks = plan.values.reshape(count, 8, 6)
    for point, design in zip(points[first:], masks, strict=False):
        a, b = point[:6], point[6:]
        np.testing.assert_array_equal(design[0], a)
        np.testing.assert_array_equal(design[1], b)
        for cell, mask in zip(ORDER, design[2:], strict=True):
            expected = a.copy()
            expected[cell] = b[cell]
            np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("first", [0, 1, 6, 16])
def test_bits_are_the_points_rounded(first):
    points = qmc.Sobol(6, scramble=True, seed=rng()).random_base2(5)
    plan = draw_halves(first, 10, GRID, rng())
    np.testing.assert_array_equal(plan.values.reshape(10, 6), points[first : first + 10] >= 0.5)


def test_each_cell_is_kept_half_of_the_time_and_seeds_differ():
    plans = [draw_halves(0, 64, (8, 8), rng(seed)) for seed in range(3)]
    for plan in plans:
        np.testing.assert_array_equal(plan.values.mean(0), 0.5)
    assert len(set(plans)) == 3
    assert draw_halves(0, 64, (8, 8), rng(2)) == plans[2]
