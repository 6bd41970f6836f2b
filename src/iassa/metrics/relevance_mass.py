"""Relevance mass: the share of a map's positive saliency that lies on an annotation.

The energy-based pointing game of Wang et al.: Score-CAM, CVPR Workshops 2020, section 4.3, called
relevance mass accuracy by Arras, Osman, Samek: CLEVR-XAI, Information Fusion 2022.

Positive saliency is what is above 0 in a map with a negative value, and what is above the minimum
in a map without one, whose offset means nothing (see `overlap`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from iassa.metrics.overlap import as_annotation, as_map, natural_minimum


def relevance_mass(saliency: ArrayLike, annotation: ArrayLike) -> float:
    """Positive saliency on the annotation over all positive saliency.

    Args:
        saliency: (H, W) finite.
        annotation: (H, W) bool, with one pixel set at least.

    Returns:
        In [0, 1]; 0 for a map without positive saliency, as a flat one is.

    Raises:
        InputError: an argument has another shape or dtype, or the annotation is empty.

    Example:
        >>> saliency = np.array([[3.0, -2.0, 1.0]])
        >>> relevance_mass(saliency, np.array([[True, True, False]]))
        0.75
    """
    saliency = as_map(saliency)
    annotation = as_annotation(annotation, saliency.shape)
    mass = np.maximum(saliency - natural_minimum(saliency), 0)
    peak = mass.max()
    if peak <= 0:
        return 0.0
    mass /= peak  # the sum of very large values would overflow
    return min(float(mass[annotation].sum() / mass.sum()), 1.0)
