"""Pixel level: a metric divided by the number of pixels that the map activates.

Vasu and Long (WACV 2020, Table 1) give every metric at image level and at pixel level, which is the
image-level value over the number of activated pixels, those in the top 30 % of the map's range. It
rewards maps that say as much with fewer pixels, where more is better. Where less is better, as in
deletion, it rewards those that mark more: read it beside the image level, not in its place.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from iassa.errors import InputError
from iassa.metrics.overlap import threshold_region

__all__ = ["count_activated", "pixel_level"]


def count_activated(saliency: ArrayLike, *, fraction: float = 0.7) -> int:
    """Number of activated pixels: S > minimum + fraction (peak - minimum).

    The minimum is that of `overlap`: 0 for a map with negative values, else the map's own.

    Args:
        saliency: (H, W) finite.
        fraction: in [0, 1); 0.7 for the top 30 % of the range.

    Returns:
        At least 1, but 0 for a flat map and for one that is negative alone.

    Raises:
        InputError: an argument has another shape, dtype or range.

    Example:
        >>> count_activated(np.array([[-9.0, 0.0, 7.0], [7.5, 8.0, 10.0]]))
        3
    """
    return int(np.count_nonzero(threshold_region(saliency, fraction)))


def pixel_level(value: float, num_activated: int) -> float:
    """A metric at pixel level.

    Args:
        value: the metric of the map at image level.
        num_activated: pixels that the map activates, of `count_activated`.

    Returns:
        value / num_activated, in units of the metric per pixel.

    Raises:
        InputError: the value is not finite, or no pixel is activated.
    """
    if not math.isfinite(value):
        raise InputError(f"expected a finite value, got {value}. Leave this image out.")
    if num_activated < 1:
        raise InputError(
            f"expected at least 1 activated pixel, got {num_activated}. A map that marks nothing "
            "has no pixel level: leave it out, and say how many were."
        )
    return value / num_activated
