"""Where a model's score moves: the keep probabilities that tell, and those that do not.

A saturated model gives the whole image's score whatever little is hidden, or nothing as soon as a
little is. Masks at such keep probabilities cost calls and show nothing.

Nothing here depends on the unit or the zero of the scores: a logit is treated as a likelihood is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

QUARTERS = 4
TELLING = 0.1  # of the largest variance of a quarter
FEW = 1 / 8  # of the masks: of a normal distribution of scores a third tell, of a linear one more
ROUNDING = 1e-6  # of a score, as a model in float32 rounds it
ALIKE = 0.02  # of what hiding costs: if the costs differ less than this, all masks are one


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
        least `TELLING` of the largest quarter's, for any target that is not flat; None if that is
        all, or if there are too few masks to tell.

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
    # The rounding of a flat target varies alike everywhere; it must not speak for all of the range.
    moving = [t for t in range(scores.shape[1]) if not is_flat(*_limits(scores[:, t]))]
    if not moving:
        return None
    variance = np.stack(
        [scores[number == quarter][:, moving].var(axis=0) for quarter in range(QUARTERS)]
    )
    telling = np.flatnonzero((variance >= TELLING * variance.max(axis=0)).any(axis=1))
    if telling[0] == 0 and telling[-1] == QUARTERS - 1:
        return None
    return round(float(edges[telling[0]]), 6), round(float(edges[telling[-1] + 1]), 6)


def is_flat(low: float, high: float) -> bool:
    """Whether scores from low to high are one number, but for the rounding of a model."""
    return high - low <= ROUNDING * max(abs(low), abs(high))


def telling_share(scores: NDArray[np.float64]) -> float:
    """Share of the masks that the variance of their scores (N,) comes from: 1 / kurtosis.

    It is 1 where half of the scores are high and half low, 1/3 for a normal distribution, and about
    q where a small share q of them differs from all others.
    """
    deviations = scores - scores.mean()
    scale = np.abs(deviations).max()
    if scale == 0:
        return 0.0
    squares = (deviations / scale) ** 2
    return float(squares.mean() ** 2 / (squares**2).mean())


def stays_sure(scores: NDArray[np.float64], whole: float) -> bool:
    """Whether nearly all masked images (N,) score as the whole one, and a few fall."""
    middle = float(np.median(scores))
    few_fall = telling_share(scores) < FEW and scores.mean() <= middle
    return few_fall and abs(whole - middle) < 0.1 * _spread(scores, whole)


def is_gone(scores: NDArray[np.float64], whole: float) -> bool:
    """Whether nearly all masked images (N,) lose what the whole one scores, and a few keep it."""
    middle = float(np.median(scores))
    few_rise = telling_share(scores) < FEW and scores.mean() >= middle
    if few_rise and whole - middle > 0.5 * _spread(scores, whole):
        return True
    return float(scores.std()) <= ALIKE * (whole - float(scores.mean()))


def _spread(scores: NDArray[np.float64], whole: float) -> float:
    return max(float(scores.max()), whole) - min(float(scores.min()), whole)


def _limits(scores: NDArray[np.float64]) -> tuple[float, float]:
    return float(scores.min()), float(scores.max())
