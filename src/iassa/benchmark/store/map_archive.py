"""A map as the bytes of a small NumPy archive, at half precision.

A float16 has eleven bits and a narrow range. So a map is stored relative to its own range, and the
range as float64: scores of any unit keep their digits. Where all values have one sign and lie close
together, as RISE's do around the keep probability times the score, the value nearest to zero is
taken off first, so that no bits go to what all pixels have in common.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from iassa.archives import read_arrays, take_array
from iassa.checks import Within
from iassa.errors import InputError, require


def pack_map(saliency: NDArray[np.float32] | None) -> tuple[bytes, float]:
    """Pack a map.

    Args:
        saliency: (H, W) finite.

    Returns:
        A `.npz` with `values` (H, W) float16 in [-1, 1] and the float64 `scale` and `offset`: the
        map is `offset + scale * values`. And the largest absolute error of that, at most `scale` /
        4096 and a rounding of float32.

    Raises:
        InputError: it has another shape, or values that are not finite.
    """
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and is refused
        exact = np.asarray(saliency, np.float32).astype(np.float64)
    if exact.ndim != 2 or exact.size == 0 or not np.isfinite(exact).all():
        got = "NaN or infinity" if exact.ndim == 2 and exact.size else f"shape {exact.shape}"
        raise InputError(f"expected a finite map (H, W) to store, got {got}. Leave it out.")
    low, high = exact.min(), exact.max()
    offset = max(low, 0.0) + min(high, 0.0)  # zero where the signs differ
    scale = max(high - offset, offset - low) or 1.0
    values = ((exact - offset) / scale).astype(np.float16)
    archive = io.BytesIO()
    np.savez_compressed(archive, values=values, offset=offset, scale=scale)
    content = archive.getvalue()
    return content, float(np.abs(unpack_map(content) - exact).max())


def unpack_map(content: bytes) -> NDArray[np.float32]:
    """The map (H, W) that `pack_map` packed.

    Raises:
        InputError: it is not that.
    """
    archive = read_arrays(content)
    values = take_array(archive, "values", (None, None), np.float16, Within(-1, 1))
    offset, scale = (take_array(archive, one, (), np.float64) for one in ("offset", "scale"))
    with np.errstate(over="ignore", invalid="ignore"):
        saliency: NDArray[np.float32] = (offset + scale * values.astype(float)).astype(np.float32)
    require(np.isfinite(saliency).all() and saliency.size, "expected a finite map, got none.")
    return saliency
