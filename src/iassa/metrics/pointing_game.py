"""Pointing game: does the maximum of the map lie on the object?

Zhang, Lin, Brandt, Shen, Sclaroff: Top-down Neural Attention by Excitation Backprop, ECCV 2016,
section 4.2. They allow a miss by 15 pixels; here the tolerance is an argument, by default 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from iassa.errors import InputError
from iassa.metrics.overlap import as_annotation, as_map


@dataclass(frozen=True)
class Pointing:
    """Where a map points, and whether that is right.

    Attributes:
        hit: whether the peak is on the annotation, or within the tolerance of it.
        peak: (row, column) of the map's maximum; of several, the first in row order.
        distance: from the peak to the nearest annotated pixel, in pixels; 0 on the annotation.
    """

    hit: bool
    peak: tuple[int, int]
    distance: float


def pointing_game(
    saliency: ArrayLike, annotation: ArrayLike, *, tolerance: float = 0.0
) -> Pointing:
    """Compare the maximum of a map with an annotation.

    Args:
        saliency: (H, W) finite.
        annotation: (H, W) bool, with one pixel set at least.
        tolerance: distance in pixels, between pixel centres, that still counts as a hit.

    Returns:
        Whether the peak hits, the peak, and its distance.

    Raises:
        InputError: an argument has another shape, dtype or range, or the annotation is empty.

    Example:
        >>> saliency = np.array([[0.1, 0.7, 0.2], [0.0, 0.3, 0.1]], dtype=np.float32)
        >>> annotation = np.array([[False, False, False], [False, False, True]])
        >>> pointing_game(saliency, annotation, tolerance=1.5)
        Pointing(hit=True, peak=(0, 1), distance=1.4142135623730951)
    """
    saliency = as_map(saliency)
    annotation = as_annotation(annotation, saliency.shape)
    if not tolerance >= 0:
        raise InputError(f"expected a tolerance of 0 pixels or more, got {tolerance}. Use 15.")
    row, column = divmod(int(np.argmax(saliency)), saliency.shape[1])
    rows, columns = np.nonzero(annotation)
    distance = float(np.hypot(rows - row, columns - column).min())
    return Pointing(hit=distance <= tolerance, peak=(row, column), distance=distance)
