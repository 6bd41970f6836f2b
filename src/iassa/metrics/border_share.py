"""Border share: how much of a map's positive saliency lies at the border of the image.

Photographs have their objects in the middle more often than not. A model that relies on the border
may rely on a frame, a watermark, a date or the surroundings: such images are worth a look first.

Positive saliency is what is above 0 in a map with a negative value, and what is above the minimum
in a map without one, whose offset means nothing (see `overlap`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.metrics.overlap import as_map, natural_minimum

TENTH = 10  # of the height at the top and at the bottom, of the width at the left and right


def border_share(saliency: ArrayLike) -> float:
    """Positive saliency in the outer tenth of the image over all positive saliency.

    The outer tenth is what is nearer to the top or the bottom edge than a tenth of the height, or
    nearer to the left or the right edge than a tenth of the width: 36 % of the image. A pixel that
    is part of it counts by its part.

    Args:
        saliency: (H, W) finite.

    Returns:
        In [0, 1]: 0.36 for saliency that is spread evenly over the image; 0 for a map without
        positive saliency, as a flat one is.

    Raises:
        InputError: the shape or dtype is another, or values are not finite.

    Example:
        >>> saliency = np.zeros((10, 20))
        >>> saliency[0, 5], saliency[4, 8] = 1.0, 3.0
        >>> border_share(saliency)
        0.25
    """
    saliency = as_map(saliency)
    mass = np.maximum(saliency - natural_minimum(saliency), 0)
    peak = mass.max()
    if peak <= 0:
        return 0.0
    mass /= peak  # the sum of very large values would overflow
    rows, columns = map(_inner_parts, mass.shape)
    at_border = mass * (1 - np.outer(rows, columns))
    return min(float(at_border.sum() / mass.sum()), 1.0)


def _inner_parts(length: int) -> NDArray[np.float64]:
    """(length) the part of each of so many pixels that is not in the border."""
    edges = np.clip(np.arange(length + 1), length / TENTH, length - length / TENTH)
    return np.diff(edges)
