"""Share of pixels whose sign is that of the right map: for or against.

Pixels for and pixels against count alike, however many there are of each, so that a map cannot
win by its majority. Pixels where the right map is 0 do not count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from iassa.errors import InputError
from iassa.metrics.overlap import as_map


def right_signs(saliency: ArrayLike, right: ArrayLike) -> float:
    """Share of right signs.

    Args:
        saliency: (H, W) finite, of effects: 0 is no effect, and counts as half right.
        right: (H, W) finite, the right map; not 0 everywhere.

    Returns:
        In [0, 1], the mean of the share where the right map is positive and of that where it is
        negative, or the one that there is. A map of zeros has 0.5, and so has one of random signs
        on average. A map of one sign has 0.5 where the right map has both.

    Raises:
        InputError: an argument has another shape or dtype, or the right map has no sign.

    Example:
        >>> right = np.array([[1.0, 2.0, -1.0, 0.0]])
        >>> right_signs(np.array([[0.3, -0.1, -0.2, 9.0]]), right)
        0.75
    """
    saliency, right = as_map(saliency), as_map(right)
    if saliency.shape != right.shape or not right.any():
        raise InputError(
            f"expected a right map of shape {saliency.shape} that is not 0 everywhere, got "
            f"{right.shape}. Compare maps of one image."
        )
    agree = 0.5 + 0.5 * np.sign(saliency) * np.sign(right)
    sides = [agree[side] for side in (right > 0, right < 0) if side.any()]
    return float(np.mean([side.mean() for side in sides]))
