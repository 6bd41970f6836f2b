"""Relevance rank accuracy: the share of the K most salient pixels that are annotated.

K is the number of annotated pixels. Arras, Osman, Samek: CLEVR-XAI, Information Fusion 2022. Of
equal pixels at rank K, as many count as there is room for, each by the chance to be annotated: the
mean over their orders.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from iassa.metrics.overlap import as_annotation, as_map


def relevance_rank_accuracy(saliency: ArrayLike, annotation: ArrayLike) -> float:
    """Share of the K most salient pixels that lie on an annotation of K pixels.

    Args:
        saliency: (H, W) finite; only its order counts.
        annotation: (H, W) bool, with one pixel set at least.

    Returns:
        In [0, 1]. A flat map has the annotation's share of the image.

    Raises:
        InputError: an argument has another shape or dtype, or the annotation is empty.

    Example:
        >>> saliency = np.array([[0.9, 0.5, 0.5], [0.5, 0.0, 0.0]])
        >>> annotation = np.array([[True, True, False], [False, False, False]])
        >>> round(relevance_rank_accuracy(saliency, annotation), 4)
        0.6667
    """
    saliency = as_map(saliency)
    annotation = as_annotation(annotation, saliency.shape)
    num_top = int(np.count_nonzero(annotation))
    lowest = np.partition(saliency, -num_top, axis=None)[-num_top]  # of the K most salient
    above, level = saliency > lowest, saliency == lowest
    room = num_top - np.count_nonzero(above)
    share = np.count_nonzero(annotation & level) / np.count_nonzero(level)
    return float((np.count_nonzero(annotation & above) + room * share) / num_top)
