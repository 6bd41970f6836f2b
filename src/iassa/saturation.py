"""Where a model's score moves: the keep probabilities that tell, and those that do not.

A saturated model gives the whole image's score whatever little is hidden, or nothing as soon as a
little is. Masks at such keep probabilities cost calls and tell nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["informative_range", "moves"]

QUARTERS = 4
TELLING = 0.1  # of the largest variance of a quarter
BARELY = 0.02  # of the whole image's score: a standard deviation of less is no movement


def informative_range(
    scores: NDArray[np.float64],
    keep_probability: NDArray[np.float32],
    limits: tuple[float, float],
) -> tuple[float, float] | None:
    """The quarters of a range of keep probabilities in which scores vary.

    Args:
        scores: (N, T).
        keep_probability: (N,), of the masks, within the limits.
        limits: smallest and largest.

    Returns:
        Smallest and largest of the quarters, those between them included, whose variance is at
        least `TELLING` of the largest quarter's, for any target; None if that is all, or if there
        are too few masks to tell.

    Example:
        >>> p = np.linspace(0.1, 0.9, 64, dtype=np.float32)
        >>> lost = np.where(p > 0.7, np.sin(1000 * p), 0.0)[:, None]  # moves in the last quarter
        >>> informative_range(lost, p, (0.1, 0.9))
        (0.7, 0.9)
    """
    low, high = limits
    edges = np.linspace(low, high, QUARTERS + 1)
    number = np.clip(np.searchsorted(edges, keep_probability, side="right") - 1, 0, QUARTERS - 1)
    if high <= low or np.bincount(number, minlength=QUARTERS).min() < 2 * QUARTERS:
        return None
    variance = np.stack([scores[number == quarter].var(axis=0) for quarter in range(QUARTERS)])
    telling = np.flatnonzero((variance >= TELLING * variance.max(axis=0)).any(axis=1))
    if len(telling) == 0 or (telling[0] == 0 and telling[-1] == QUARTERS - 1):
        return None
    return round(float(edges[telling[0]]), 6), round(float(edges[telling[-1] + 1]), 6)


def moves(scores: NDArray[np.float64], whole: float) -> bool:
    """Whether likelihoods (N,) of masked images move enough to explain that of the whole image."""
    return float(scores.std()) > BARELY * whole
