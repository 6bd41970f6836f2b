"""Periodic share: how much of a map's variation is lines at the pitch of a lattice.

A method that hides windows at every s-th pixel may draw its lattice into its maps: lines s pixels
apart, where nothing in the image repeats. In the power spectrum of the map they are peaks at one
cycle in s pixels, down or across. A map without them has little there.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.checks import Within, take
from iassa.errors import require
from iassa.metrics.overlap import as_map

WIDTH = 1 / 8  # of the frequency: what lies nearer than that counts as at the frequency
SHORTEST = 2.5  # pixels: the finest lines that are well below the two pixels of the last frequency
FEWEST = 16  # periods along a side: fewer cannot be told from what is a little coarser or finer


def periodic_share(saliency: ArrayLike, period: float) -> float:
    """Power of a map at one cycle in `period` pixels, down or across, over all of its power.

    With P(u, v) the power of the map less its mean, under a Hann taper, at u cycles a pixel down
    and v across, and b = 1 / period, it is the sum of P within b / 8 of (b, 0), (-b, 0), (0, b) and
    (0, -b), over the sum of all P. The taper keeps the jump between opposite borders out, and
    weighs the mean that is subtracted. Neither scale nor offset of the map matters.

    A map with edges has some power at every frequency. So compare the share with those of other
    periods, such as 2/3 and 3/2 of this one: their geometric mean is what a spectrum that falls
    evenly has here.

    Args:
        saliency: (H, W) finite.
        period: in pixels, 2.5 or more, and at most a sixteenth of the shorter side.

    Returns:
        In [0, 1]: nearly 1 for rows of stripes of this period, 0 for a flat map.

    Raises:
        InputError: the shape or dtype is another, values are not finite, or the period is out of
            range.

    Example:
        >>> stripes = np.tile(np.cos(np.arange(90) * 2 * np.pi / 5), (80, 1))
        >>> round(periodic_share(stripes, 5), 3), round(periodic_share(stripes, 4), 3)
        (1.0, 0.0)
    """
    values = as_map(saliency)
    period = take(period, Annotated[float, Within(SHORTEST)], "period")
    shorter = min(values.shape)
    require(
        FEWEST * period <= shorter,
        f"expected a period of at most a sixteenth of the shorter side, {shorter / FEWEST:g} "
        f"pixels, got {period:g}. Take a larger map or a shorter period.",
    )
    peak = np.abs(values).max()
    if peak == 0:
        return 0.0
    down, across = values.shape
    taper = np.outer(_hann(down), _hann(across))
    values = values / peak  # the square of the largest floats is none
    tapered = taper * (values - np.average(values, weights=taper))
    power = np.abs(np.fft.fft2(tapered)) ** 2
    whole = float(power.sum())
    if np.ptp(values) == 0 or whole == 0:
        return 0.0
    u = np.abs(np.fft.fftfreq(down))[:, None]
    v = np.abs(np.fft.fftfreq(across))[None]
    frequency = 1 / period
    off = np.minimum(np.hypot(u - frequency, v), np.hypot(u, v - frequency))
    return min(float(power[off <= WIDTH * frequency].sum()) / whole, 1.0)


def _hann(length: int) -> NDArray[np.float64]:
    """Hann's taper of so many pixels, above 0 at each."""
    return np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
