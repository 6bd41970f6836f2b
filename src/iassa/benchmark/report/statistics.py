"""Means with intervals, and what a paired difference shows.

The entries of one image look alike, so images are resampled: a resample draws images with
replacement, each with all of its entries, and takes the mean over those entries. The interval is
the 2.5th to the 97.5th percentile of 10 000 such means (the cluster bootstrap with percentile
intervals; Davison and Hinkley, Bootstrap Methods and Their Application, 1997, section 3.8).
Differences are taken entry by entry first, so that what makes an image hard for all methods
cancels out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (2.5, 97.5)
# Five images that all say the same do so by chance in 2 of 2^5 cases, 6 %; six in 3 %.
MIN_IMAGES = 6
RESAMPLES_AT_ONCE = 500  # of thousands of images, 20 MB

Verdict = Literal["better", "worse", "not shown"]


@dataclass(frozen=True)
class Estimate:
    """A mean over entries and its interval.

    Attributes:
        mean: over all entries alike.
        low: lower end of the 95 % interval; NaN for a single image, which shows no spread.
        high: upper end.
        num_entries: number of entries in the mean.
        num_images: number of images that they are in.
    """

    mean: float
    low: float
    high: float
    num_entries: int
    num_images: int


@dataclass(frozen=True)
class Bootstrap:
    """Draws the intervals of means.

    Attributes:
        num_resamples: how often the images are drawn.
        seed: of the drawing; the same seed gives the same images the same interval.
    """

    num_resamples: int = 10_000
    seed: int = 0

    def estimate_means(
        self, values: NDArray[np.float64], images: Sequence[Hashable]
    ) -> list[Estimate]:
        """Means of columns with intervals; all columns share the drawn images.

        Args:
            values: (n, C) finite, a row for each entry, n at least 1.
            images: n names; rows of one name are drawn together.

        Returns:
            C estimates.

        Example:
            >>> rows = np.array([[1.0], [3.0], [5.0]])
            >>> Bootstrap().estimate_means(rows, ["a", "b", "c"]).pop().mean
            3.0
        """
        numbers: dict[Hashable, int] = {}
        cluster = np.array([numbers.setdefault(image, len(numbers)) for image in images])
        counts = np.bincount(cluster).astype(np.float64)
        sums = np.zeros((len(counts), values.shape[1]))
        np.add.at(sums, cluster, values)
        ends = np.full((2, values.shape[1]), np.nan)
        if len(counts) > 1:
            ends = np.percentile(self._resample(sums, counts), PERCENTILES, axis=0)
        return [
            Estimate(float(mean), float(low), float(high), len(values), len(counts))
            for mean, low, high in zip(values.mean(axis=0), *ends, strict=True)
        ]

    def _resample(
        self, sums: NDArray[np.float64], counts: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Means over drawn images, (num_resamples, C), of their sums (G, C) and counts (G,)."""
        rng = np.random.default_rng(self.seed)
        chances = np.full(len(counts), 1 / len(counts))
        means = np.empty((self.num_resamples, sums.shape[1]))
        for first in range(0, self.num_resamples, RESAMPLES_AT_ONCE):
            block = means[first : first + RESAMPLES_AT_ONCE]
            # How often each image is drawn: a mean needs nothing else of a resample.
            drawn = rng.multinomial(len(counts), chances, size=len(block)).astype(np.float64)
            np.divide(drawn @ sums, (drawn @ counts)[:, None], out=block)
        return means


def judge(difference: Estimate, *, lower_is_better: bool = False) -> Verdict:
    """What a paired difference, one minus the other, shows of the one.

    Args:
        difference: of a metric.
        lower_is_better: the metric's direction.

    Returns:
        'better' or 'worse' where the interval lies on one side of 0 and there are at least
        `MIN_IMAGES` images; else 'not shown'.
    """
    if difference.num_images < MIN_IMAGES or difference.low <= 0 <= difference.high:
        return "not shown"
    return "better" if (difference.low > 0) != lower_is_better else "worse"
