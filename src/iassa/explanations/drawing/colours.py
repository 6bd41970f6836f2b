"""A map in colours over its photograph, which is seen through the strongest of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from numpy.typing import NDArray

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, what a grey picture of colours is
DARKEST, RANGE = 0.1, 0.62  # of the grey photograph below the colours
THICKEST = 0.68  # the share of the colour where it is strongest: the rest is the photograph
FIRST, LAST = 0.1, 0.9  # of matplotlib's colours for an effect: the outer ones are nearly black
FULL = 0.6  # of the highest effect: from here on colours differ in hue and lightness alone
UNSURE = 0.3  # of the peak: a larger standard error is hatched
HATCHED = "; hatched: standard error above 30 % of the peak"
STRIPES = 45  # across the longer side of a hatched map
CHALK = 235  # the lightness of a hatch
MIDDLE = 0.5  # the grey below the colours of a colour bar


@dataclass(frozen=True)
class Colours:
    """From values to colours: an effect about 0, a mean score over its range.

    The colour-blind can read both. An effect goes from blue to red, in colours of ColorBrewer, and
    is transparent where it is small. A mean score goes from black over purple to yellow.

    Attributes:
        low: the least value.
        high: the largest one, above `low`; of an effect `-low`.
        signed: whether it is an effect.
    """

    low: float
    high: float
    signed: bool

    @classmethod
    def over(cls, saliency: NDArray[np.float32], measures: str) -> Self:
        """The colours of maps (..., H, W) on one scale; for `measures` see `Explainer.measures`."""
        low, high = float(saliency.min()), float(saliency.max())
        signed = measures == "effect"
        if signed:
            low, high = -max(-low, high), max(-low, high)
        if low == high:  # a flat map: a bar of no height cannot be drawn
            low, high = low - 0.5, high + 0.5
        return cls(low, high, signed)

    def paint(
        self,
        image: NDArray[np.float32],
        saliency: NDArray[np.float32],
        error: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """A map over its photograph in grey, as one picture.

        matplotlib would lay one over the other, in ten times the memory.

        Args:
            image: (H, W, 3) in [0, 1].
            saliency: (H, W).
            error: (H, W), the standard error, by which it is hatched, see `find_unsure`; None
                where nothing is to be hatched.

        Returns:
            (H, W, 4) RGBA.
        """
        values = saliency.astype(np.float64)  # a range from -3e38 to 3e38 is longer than float32
        places = (values - self.low) / (self.high - self.low)
        opacity = np.full(values.shape, THICKEST, np.float32)
        if self.signed:
            places = FIRST + (LAST - FIRST) * places
            strength = np.abs(values) / (FULL * self.high)
            opacity = (THICKEST * strength.clip(0, 1)).astype(np.float32)
        colours = colormaps["RdBu_r" if self.signed else "inferno"](places, bytes=True)[:, :, :3]
        opacity = opacity[:, :, None]
        grey = 255 * (DARKEST + RANGE * image @ np.array(LUMINANCE, np.float32))
        painted = grey[:, :, None] * (1 - opacity) + colours * opacity
        if error is not None:
            unsure = find_unsure(saliency, error, signed=self.signed)
            painted[unsure & _stripes(unsure.shape)] = CHALK
        return opaque(painted)

    def note(self, saliency: NDArray[np.float32], error: NDArray[np.float32]) -> str:
        """What a caption ends with: what the hatch of a map stands for, where it has one."""
        return HATCHED if find_unsure(saliency, error, signed=self.signed).any() else ""

    def bar(self) -> ScalarMappable:
        """What a colour bar is made of: the colours over a middle grey."""
        values = np.linspace(self.low, self.high, 256, dtype=np.float32)[None]
        grey = np.full((1, 256, 3), MIDDLE, np.float32)
        painted = self.paint(grey, values)[0] / 255
        return ScalarMappable(Normalize(self.low, self.high), ListedColormap(painted))


def find_unsure(
    saliency: NDArray[np.float32], error: NDArray[np.float32], *, signed: bool
) -> NDArray[np.bool_]:
    """Where the standard error is above 0.3 of the map's peak, or not known.

    Args:
        saliency: (H, W).
        error: (H, W), infinite or NaN where it is not known.
        signed: whether the peak is the largest effect of either sign, not the range of the map.

    Returns:
        (H, W); False everywhere where the error is not known anywhere: such a method gives none.
    """
    if not np.isfinite(error).any():
        return np.zeros(error.shape, np.bool_)
    values = saliency.astype(np.float64)
    peak = np.abs(values).max() if signed else np.ptp(values)
    return ~(error.astype(np.float64) <= UNSURE * peak)


def opaque(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """RGBA of RGB (H, W, 3) up to 255: of anything else matplotlib makes float64."""
    painted = np.full((*colours.shape[:2], 4), 255, np.uint8)
    painted[:, :, :3] = colours.round()
    return painted


def _stripes(size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Thin diagonals over (H, W), which look alike at any size that a map is drawn at."""
    period = max(4, round(max(size) / STRIPES))
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (rows + columns) % period < max(1, period // 5)
