"""Average precision of a map's pixels against an annotation: localisation without a threshold.

The area under precision over recall as the threshold falls, by steps: sum (R_k - R_k-1) P_k over
the distinct values of the map. Equal pixels come together, so their order cannot be chosen well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from iassa.metrics.overlap import as_annotation, as_map


def average_precision(saliency: ArrayLike, annotation: ArrayLike) -> float:
    """Average precision.

    Args:
        saliency: (H, W) finite; only its order counts.
        annotation: (H, W) bool, with one pixel set at least.

    Returns:
        In (0, 1], 1 if all annotated pixels are above all others. A flat map has the annotation's
        share of the image, and so has a random one on average.

    Raises:
        InputError: an argument has another shape or dtype, or the annotation is empty.

    Example:
        >>> saliency = np.array([[0.9, 0.6, 0.1], [0.5, 0.0, 0.0]])
        >>> annotation = np.array([[True, False, False], [True, False, False]])
        >>> round(average_precision(saliency, annotation), 4)
        0.8333
    """
    saliency = as_map(saliency)
    annotation = as_annotation(annotation, saliency.shape)
    order = np.argsort(-saliency, axis=None)
    values = saliency.flat[order]
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))  # of runs of equal values
    inside = np.cumsum(annotation.flat[order])[ends]
    gained = np.diff(inside, prepend=0) / inside[-1]
    return float(gained @ (inside / (ends + 1)))
