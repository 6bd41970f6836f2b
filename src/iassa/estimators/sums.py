"""Sums of masks under weights. All that a streamed estimator keeps of a mask is in them."""

from __future__ import annotations

from torch import Tensor

from iassa.masks.rendering import Masks

BAND_PIXELS = 2**16  # summed at a time


def accumulate(
    masks: Masks, weights: Tensor, sums: Tensor, squares: Tensor | None = None, ones: int = -1
) -> None:
    """Add masks under weights (N, R) to `sums` (R, H, W), and their squares to `squares` (H, W).

    It adds a band of the image at a time, so that float32 sums stay small. `ones` is the row of the
    weight that is 1: the squares of 0/1 masks are the masks themselves.
    """
    height, width = sums.shape[1:]
    step = max(1, BAND_PIXELS // width)
    for start in range(0, height, step):
        rows = slice(start, start + step)
        band = masks.band(rows)
        weighted = band.weigh(weights.T.float())
        sums[:, rows] += weighted
        if squares is not None:
            squares[rows] += weighted[ones] if masks.binary else band.squares()
