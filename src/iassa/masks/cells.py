"""Cells of a grid, drawn from Sobol's sequence: its points cover the cube evenly, however many.

The sequence is scrambled with the generator, as Owen (1995) has it: another seed gives other
points. Any part of the sequence can be drawn without what comes before.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from iassa.masks.plans import CellPlan


def draw_designs(
    first: int,
    count: int,
    grid: tuple[int, int],
    order: NDArray[np.integer],
    rng: np.random.Generator,
) -> CellPlan:
    """Draw designs of the total-order index: a mask a, a mask b, and a with one cell of b.

    A design is d + 2 masks of d cells: a and b, the two halves of a point of dimension 2 d, and for
    each cell a with the value of b there.

    Args:
        first: number of the first design, from 0.
        count: how many designs.
        grid: (rows, columns), d cells in all.
        order: (d,) in which the cells take b's value, the same in all designs.
        rng: where the scrambling comes from; fresh.

    Returns:
        The plan of count (d + 2) masks, design after design; each cell is uniform in [0, 1].
    """
    cells = math.prod(grid)
    both = _points(first, count, 2 * cells, rng).astype(np.float32).reshape(count, 2, cells)
    values = np.repeat(both[:, :1], cells + 2, axis=1)  # a, in all of the design's masks
    values[:, 1] = both[:, 1]
    values[:, 2 + np.arange(cells), order] = both[:, 1, order]
    return _plan(values.reshape(-1, *grid), cells + 2)


def draw_halves(
    first: int, count: int, grid: tuple[int, int], rng: np.random.Generator
) -> CellPlan:
    """Draw masks whose cells are kept or hidden, each half of the time.

    Args:
        first: number of the first mask in the sequence, from 0.
        count: N.
        grid: (rows, columns).
        rng: where the scrambling comes from; fresh.

    Returns:
        The plan of N masks, with values 0 and 1.
    """
    points = _points(first, count, math.prod(grid), rng)
    return _plan((points >= 0.5).astype(np.float32).reshape(count, *grid))


def _points(
    first: int, count: int, dimension: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Points (count, dimension) in [0, 1) of the sequence."""
    from scipy.stats import qmc  # here: half a second, and most methods need none

    sequence = qmc.Sobol(dimension, scramble=True, seed=rng)
    # It warns where the first points that are drawn are no power of two.
    start = max(first, 1)
    points: NDArray[np.float64] = sequence.random(1)
    sequence.fast_forward(start - 1)
    rest = sequence.random(first + count - start)
    return np.concatenate([points, rest]) if first == 0 else rest


def _plan(values: NDArray[np.float32], design_length: int | None = None) -> CellPlan:
    return CellPlan(np.full(len(values), 0.5, np.float32), values, design_length)
