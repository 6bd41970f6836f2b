"""Sparsity: does the map mark few pixels, or all alike? The Gini index of |S|.

Chalasani, Chen, Chowdhury, Wu, Jha: Concise Explanations of Neural Networks using Adversarial
Training, ICML 2020, after Hurley and Rickard: Comparing Measures of Sparsity, IEEE Trans.
Information Theory, 2009, who find that of sixteen measures only this one and one other have all six
properties that sparsity should have: among them, to depend neither on the scale nor on the number
of pixels, and to fall where all values are raised alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from iassa.metrics.overlap import as_map


def gini_index(saliency: ArrayLike) -> float:
    """Gini index of the map's absolute values. Higher is sparser.

    With |S| sorted to v_1 <= ... <= v_N, of sum V, it is
    1 - 2 sum_k (v_k / V) (N - k + 1/2) / N.

    An offset counts as saliency. A map may have an arbitrary one, as RISE's has: subtract the
    minimum first, or compare only with maps of the same kind.

    Args:
        saliency: (H, W) finite.

    Returns:
        In [0, 1 - 1/N]: 0 if all absolute values are equal (even 0), 1 - 1/N if all but one are 0.

    Raises:
        InputError: the shape or dtype is another, or values are not finite.

    Example:
        >>> gini_index(np.array([[0.0, 0.0], [0.0, -2.0]]))
        0.75
    """
    values = np.sort(np.abs(as_map(saliency)), axis=None)
    if values[0] == values[-1]:
        return 0.0
    values /= values[-1]  # so that the sum of the largest floats stays finite
    num_pixels = values.size
    # 1 - 2 (N - k + 1/2) / N for k = 1..N. With the 1 inside of the sum, an almost even map is not
    # a small difference of large numbers.
    lead = (2 * np.arange(num_pixels) + 1 - num_pixels) / num_pixels
    return max(0.0, float((lead * values).sum() / values.sum()))
