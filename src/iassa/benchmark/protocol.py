"""How the maps of a benchmark are measured."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from iassa import metrics
from iassa.checks import InputSize, Within, take_fields
from iassa.errors import InputError, list_choices, list_some, require
from iassa.masks.baselines import FILLS

ROAD = "road"  # the fill that depends on what is left; see `metrics.linear_imputation`
GAIN_FILLS = (*FILLS, ROAD)


@dataclass(frozen=True)
class Protocol:
    """How maps are measured: RISE's protocol by default (Petsiuk et al., BMVC 2018, section 4.2).

    Attributes:
        size: (height, width) of insertion and deletion. None for the size that the black box looks
            at, or that of the image if it takes any size.
        pixels_per_step: pixels that change between two scores of a curve.
        fill: a grey in [0, 1] that replaces deleted pixels.
        blur_size: taps of the Gaussian that blurs the start image of insertion, odd.
        blur_sigma: its standard deviation in pixels.
        normalise: how the scores of the curves are normalised; see `deletion`.
        threshold: T of the region that F1 and IoU measure, as a share of the map's range.
        tolerance: of the tolerant pointing game, in pixels of the image file.
        gain_fills: what hides pixels in the curves of the symmetric relevance gain: `FILLS` and
            'road'. Each fill asks for 2 (gain_steps + 1) scores; none is left to measure without
            them.
        gain_steps: of each of these curves.
        other_class: whether each map is compared with that of another class, drawn by the seed.
            It costs no calls; methods without evidence have no such map.
    """

    size: InputSize = None
    pixels_per_step: Annotated[int, Within(1, 10**9)] = 224
    fill: Annotated[float, Within(0, 1)] = 0.5
    blur_size: Annotated[int, Within(1, 1001)] = 11
    blur_sigma: Annotated[float, Within(0.01, 1000)] = 5.0
    normalise: metrics.Normalisation = "none"
    threshold: Annotated[float, Within(0, 1, below=True)] = 0.3
    tolerance: Annotated[float, Within(0, 10_000)] = 15.0
    gain_fills: tuple[str, ...] = ("grey", "blur", "mean", "road")
    gain_steps: Annotated[int, Within(1, 10**6)] = 28
    other_class: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        take_fields(self)
        odd = self.blur_size % 2 == 1
        require(odd, f"expected blur_size to be odd, got {self.blur_size}.")
        unknown = [name for name in self.gain_fills if name not in GAIN_FILLS]
        if unknown or len({*self.gain_fills}) < len(self.gain_fills):
            got = list_some(map(repr, self.gain_fills))
            raise InputError(
                f"expected gain_fills among {list_choices(GAIN_FILLS)}, each once, got {got}."
            )

    def at(self, size: tuple[int, int] | None) -> Protocol:
        """The same protocol, at the size that the black box looks at if it has none of its own."""
        return dataclasses.replace(self, size=self.size or size)
