"""Means with intervals, and what a paired difference shows.

The entries of one image look alike, so an image is what is drawn: a resample takes images with
replacement, each with all of its entries, and the mean is over the entries that came along. The
interval is the 2.5th to the 97.5th percentile of 10 000 such means (the cluster bootstrap with
percentile intervals; Davison and Hinkley, Bootstrap Methods and Their Application, 1997, section
3.8). Differences are taken entry by entry first, so that what makes an image hard for all methods
cancels out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_IMAGES", "NUM_RESAMPLES", "Estimate", "Verdict", "estimate_means", "judge"]

NUM_RESAMPLES = 10_000
PERCENTILES = (2.5, 97.5)
# Five images that all say the same do so by chance in 2 of 2^5 cases, 6 %; six in 3 %.
MIN_IMAGES = 6
COLUMNS_AT_ONCE = 256  # 20 MB of resampled means
RESAMPLES_AT_ONCE = 500

Verdict = Literal["better", "worse", "not shown"]


@dataclass(frozen=True)
class Estimate:
    """A mean over entries, and how well it is known.

    Attributes:
        mean: over all entries alike.
        low: end of the 95 % interval; NaN for a single image, which says nothing of others.
        high: the other end.
        num_entries: that the mean is of.
        num_images: that they are in.
    """

    mean: float
    low: float
    high: float
    num_entries: int
    num_images: int


def estimate_means(
    values: NDArray[np.float64],
    images: Sequence[Hashable],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Estimate]:
    """Means of columns with intervals, all columns drawn alike.

    Args:
        values: (n, C) finite, a row for each entry, n at least 1.
        images: n names; rows of one name are drawn together.
        num_resamples: how often the images are drawn.
        seed: of the drawing; the same for the same images gives the same interval.

    Returns:
        C estimates.

    Example:
        >>> rows = np.array([[1.0], [3.0], [5.0]])
        >>> estimate_means(rows, ["a", "b", "c"]).pop().mean
        3.0
    """
    numbers: dict[Hashable, int] = {}
    cluster = np.array([numbers.setdefault(image, len(numbers)) for image in images])
    counts = np.bincount(cluster).astype(np.float64)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, cluster, values)
    means = values.mean(axis=0)
    ends = np.full((2, values.shape[1]), np.nan)
    if len(counts) > 1:
        for first in range(0, values.shape[1], COLUMNS_AT_ONCE):
            part = slice(first, first + COLUMNS_AT_ONCE)
            resampled = _resample(sums[:, part], counts, num_resamples, seed)
            ends[:, part] = np.percentile(resampled, PERCENTILES, axis=0)
    return [
        Estimate(float(mean), float(low), float(high), len(values), len(counts))
        for mean, low, high in zip(means, *ends, strict=True)
    ]


def _resample(
    sums: NDArray[np.float64], counts: NDArray[np.float64], num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """Means over drawn images, (num_resamples, C), of their sums (G, C) and counts (G,)."""
    rng = np.random.default_rng(seed)
    chances = np.full(len(counts), 1 / len(counts))
    means = np.empty((num_resamples, sums.shape[1]))
    for first in range(0, num_resamples, RESAMPLES_AT_ONCE):
        block = means[first : first + RESAMPLES_AT_ONCE]
        # How often each image is drawn: all that a mean needs to know of a resample.
        drawn = rng.multinomial(len(counts), chances, size=len(block)).astype(np.float64)
        np.divide(drawn @ sums, (drawn @ counts)[:, None], out=block)
    return means


def judge(difference: Estimate, *, lower_is_better: bool = False) -> Verdict:
    """What a paired difference, one minus the other, shows of the one.

    Args:
        difference: of a metric.
        lower_is_better: the metric's direction.

    Returns:
        'better' or 'worse' where the interval lies on one side of 0 and there are images enough
        for that to mean something (six); else 'not shown'.
    """
    if difference.num_images < MIN_IMAGES:
        return "not shown"
    if difference.low > 0:
        return "worse" if lower_is_better else "better"
    if difference.high < 0:
        return "better" if lower_is_better else "worse"
    return "not shown"
