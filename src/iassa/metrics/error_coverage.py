"""Whether error bars hold what they promise: the map of another seed.

A standard error is about what the same method would find with masks without end, which nobody
knows. Two runs of one method with different seeds both aim at it, so at 95 % of the pixels their
difference should be at most 1.96 times the root of the sum of their squared errors. That says how
well runs repeat each other, not how near they are to what is right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from iassa.errors import require
from iassa.metrics.overlap import as_map

NOMINAL = 1.96  # standard errors on either side: 95 %
ROUNDING = 3e-7  # of a map of float32, as a share of its peak


def error_coverage(
    first: ArrayLike, second: ArrayLike, first_error: ArrayLike, second_error: ArrayLike
) -> float:
    """Share of pixels at which two maps agree within their errors.

    Args:
        first: (H, W) finite, the map of one seed.
        second: (H, W) finite, that of another.
        first_error: (H, W) standard error of the first, infinite where it is not known.
        second_error: (H, W) of the second.

    Returns:
        In [0, 1], 0.95 of errors that are right, of the pixels where both errors are known; NaN
        where none are.

    Raises:
        InputError: a map has another shape or dtype than (H, W) floating point, or is not finite.

    Example:
        >>> first, second = np.array([[1.0, 2.0]]), np.array([[1.5, 5.0]])
        >>> error_coverage(first, second, np.full((1, 2), 0.3), np.full((1, 2), 0.4))
        0.5
    """
    first, second = as_map(first), as_map(second)
    error = np.hypot(np.asarray(first_error, np.float64), np.asarray(second_error, np.float64))
    require(
        first.shape == second.shape == error.shape,
        f"expected maps and errors of one shape, got {first.shape}, {second.shape} and those of "
        f"{error.shape}. Compare maps of one image.",
    )
    known = np.isfinite(error)
    if not known.any():
        return float("nan")
    # Where all masks there are were scored, an error is 0, and only rounding differs.
    margin = NOMINAL * error + ROUNDING * max(np.abs(first).max(), np.abs(second).max())
    return float((np.abs(first - second) <= margin)[known].mean())
