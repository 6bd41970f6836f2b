"""Rank correlation with the right map, over the pairs of pixels that the right map orders.

Somers' D (*A New Asymmetric Measure of Association for Ordinal Variables*, 1962): of these pairs
the share that the map orders alike less the share that it orders the other way. Where the right map
has two values it is 2 AUC - 1. A right map is 0 at most pixels. Spearman's rank correlation asks
for these ties, and so keeps any map that has some noise far below 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from iassa.errors import require
from iassa.metrics.overlap import as_map


def right_order(saliency: ArrayLike, right: ArrayLike) -> float:
    """Rank correlation with the right map.

    Args:
        saliency: (H, W) finite; only its order counts.
        right: (H, W) finite, the right map; not flat.

    Returns:
        In [-1, 1]: 1 if the map orders all of these pairs alike, 0 for a flat map, and for one of
        random values on average.

    Raises:
        InputError: an argument has another shape or dtype, or the right map is flat.

    Example:
        >>> right = np.array([[2.0, 1.0, 0.0, 0.0]])
        >>> right_order(np.array([[0.5, 0.9, 0.1, 0.2]]), right)  # one of five pairs is wrong
        0.6
    """
    from scipy.stats import kendalltau  # here, since it is slow to import

    saliency, right = as_map(saliency), as_map(right)
    holds = saliency.shape == right.shape and np.ptp(right) > 0
    require(
        holds,
        f"expected a right map of shape {saliency.shape} that is not flat, got {right.shape}. "
        "Compare maps of one image.",
    )
    if np.ptp(saliency) == 0:
        return 0.0
    # Kendall's tau-b is the same difference over the geometric mean of the pairs that either
    # orders, so their numbers give Somers' D.
    tau = float(kendalltau(saliency.ravel(), right.ravel(), method="asymptotic").statistic)
    found = tau * math.sqrt(_ordered_pairs(saliency) / _ordered_pairs(right))
    return min(1.0, max(-1.0, round(found, 12)))  # what rounding takes from a whole number


def _ordered_pairs(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> int:
    _, counts = np.unique(values, return_counts=True)
    return int(math.comb(values.size, 2) - sum(math.comb(int(count), 2) for count in counts))
