"""What floats may differ by where they are computed in another order, as on another processor."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike


def steps(
    number: float,
    *values: ArrayLike | torch.Tensor,
    dtype: type[np.floating] = np.float32,
) -> float:
    """`number` steps of a dtype at the largest of some values: what rounding may differ by there.

    The values are those that were added or subtracted, even if the result is near zero. Those
    that are not finite are left out.
    """
    largest = max((_largest(one) for one in values), default=-np.inf)
    if not 0 <= largest <= float(np.finfo(dtype).max):
        raise ValueError(f"expected a finite value of {np.dtype(dtype)}, got {values}")
    return float(number * np.spacing(dtype(largest)))


def _largest(values: ArrayLike | torch.Tensor) -> float:
    """The largest size of a finite value, and minus infinity without any."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    return float(sizes[np.isfinite(sizes)].max(initial=-np.inf))
