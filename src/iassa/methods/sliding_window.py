"""Occlusion with a sliding window (Zeiler and Fergus, ECCV 2014): hide a box, see what it costs.

With f(I) the score of the whole image and f_i that with window i hidden, a pixel's effect is the
mean over the windows that hide it,

    S(x) = sum_i (f(I) - f_i) (1 - M_i(x)) / sum_i (1 - M_i(x))

as captum and xaitk-saliency have it, the latter also the defaults: windows of 50 pixels, every 20.
Here all windows that reach into the image are among them, 169 of a square one, so that pixels at
the border are hidden as often as the others; xaitk takes 144, captum those that lie inside. xaitk
then divides the map by its largest value; here it stays in score units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.attention import Attention
from iassa.jackknife import GroupedProducts, Lattice, mean_without_groups
from iassa.loop import Method, Setting
from iassa.masks import MaskPlan, plan_windows, sliding_windows
from iassa.rendering import Masks
from iassa.saliency import Effect, Estimator
from iassa.segmentation import Segmentations

__all__ = ["Occlusion", "SlidingWindow"]


@dataclass(frozen=True, kw_only=True)
class SlidingWindow(Method):
    """Every window once, in random order: a budget that ends early has seen all sides.

    On a square image there are 169 windows. When all are scored the run ends, and other seeds give
    the same map but for its standard error.

    Attributes:
        round_calls: windows in a round, after which `iterate` yields a map.
        window: edge of the hidden box, in pixels of an image whose short side is 224.
        stride: of the windows, likewise.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "sliding-window"

    round_calls: int = 64
    window: float = 50.0
    stride: float = 20.0

    def __post_init__(self) -> None:
        """Refuse hyperparameters that make no sense."""
        super().__post_init__()
        self._require("round_calls", 16 <= self.round_calls <= 100_000, "from 16 to 100000")
        self._require("window", self.window >= 1, "at least 1 pixel")
        self._require("stride", 0 < self.stride <= self.window, "above 0 and at most the window")

    def plan(
        self, k: int, region: NDArray[np.bool_] | None, setting: Setting
    ) -> dict[str, MaskPlan]:
        """The next windows of the one random order; see `Method.plan`."""
        unit = min(setting.size) / 224
        window = max(1, round(self.window * unit))
        stride = min(float(window), max(1.0, self.stride * unit))
        windows = sliding_windows(setting.size, window, stride)
        order = plan_windows(windows, setting.size, setting.rng(0))
        chosen = order[k * self.round_calls : (k + 1) * self.round_calls]
        return {"window": chosen} if len(chosen) else {}

    def estimator(
        self,
        reference: Tensor,
        size: tuple[int, int],
        attention: Attention | None,
        segmentations: Segmentations | None,
    ) -> Estimator:
        """The mean over the windows that hide a pixel."""
        return Occlusion(reference, size)


class Occlusion:
    """S(x) = sum_i (f(I) - f_i) (1 - M_i(x)) / sum_i (1 - M_i(x)): what hiding the pixel costs.

    The standard error says how far the map hangs on where the windows happen to lie: how much the
    few that hide a pixel, six with the defaults, disagree about it. No noise is meant: the same
    windows give the same map, and the error does not go to 0 when all of them are scored. For a
    mean of n windows a delete-a-group jackknife of many more groups is larger by up to
    sqrt(n / (n - 1)), to the safe side.
    """

    def __init__(self, reference: Tensor, size: tuple[int, int]) -> None:
        """Start empty sums.

        Args:
            reference: (T,) float64 scores f(I) of the whole image, on the device of the masks.
            size: (height, width) of the map.
        """
        self._reference = reference
        self._lattice = Lattice.over(size, reference.device)
        self._sums = reference.new_zeros((len(reference) + 1, *size))  # sum of (f(I) - f, 1)(1 - M)
        pixels = self._lattice.size[0] * self._lattice.size[1]
        self._groups = GroupedProducts((len(reference) + 1, pixels), reference)
        self._count = 0

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch; see `saliency.Estimator.add`. The family does not matter here."""
        cost = self._reference - scores
        weights = torch.cat([cost, torch.ones_like(cost[:, :1])], dim=1)
        self._sums += masks.weigh_hidden(weights.T.float())
        hidden = 1 - masks.at(self._lattice.rows, self._lattice.columns).flatten(1)
        self._groups.add(weights, hidden)
        self._count += len(scores)

    def close_round(self) -> None:
        """Nothing to do: the sums of all rounds are one."""

    def estimate(self) -> Effect:
        """The map so far: 0, with infinite error, where nothing has been hidden yet."""
        hidden = self._sums[-1] > 0
        mean = torch.where(hidden, self._sums[:-1] / self._sums[-1], 0.0)

        groups = self._groups.sums()[: self._count]
        deviations, settled = mean_without_groups(groups, self._lattice.size)
        return Effect(
            saliency=mean.float(),
            sampled=hidden,
            deviations=deviations,
            settled=settled,
            signed=True,
        )
