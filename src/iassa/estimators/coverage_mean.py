"""Eq. 5 of the paper as it is printed: the mean score of the masks that keep a pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import (
    GROUPS,
    GroupedRounds,
    Lattice,
    mean_without_groups,
)
from iassa.estimators.sums import accumulate
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Masks


class CoverageMean:
    """S(x) = sum_i f_i M_i(x) / sum_i M_i(x): Eq. 5, its E[M] N counted for each pixel.

    The paper's masks cover the image unevenly once they adapt. With one E[M] N for all pixels, one
    that no window ever hid would look most important. All rounds count alike.

    The standard error is about the map of infinitely many masks. For windows it is about all
    windows of the lattices that they were drawn from; each lattice weighs as many windows as were
    scored of it. A round whose windows are all scored adds no error; if all rounds are such,
    the map is exact and its error 0. The error does not cover other lattices.
    """

    def __init__(self, reference: Tensor, size: tuple[int, int], groups: int = GROUPS) -> None:
        """Start empty sums.

        Args:
            reference: (T,) float64 scores of the whole image, on the device of the masks.
            size: (height, width) of the map.
            groups: of masks, for the standard error; see `GroupedProducts`.
        """
        # Sums are of differences to the first score: small numbers lose fewer digits, and equal
        # ones none.
        self._origin: Tensor | None = None
        self._reference = reference
        self._lattice = Lattice.over(size, reference.device)
        self._sums = reference.new_zeros((len(reference) + 1, *size))  # sum of (f, 1) M
        pixels = self._lattice.size[0] * self._lattice.size[1]
        self._groups = GroupedRounds((len(reference) + 1, pixels), reference, groups)

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch; see `Estimator.add`. Neither the family nor the probability matters here."""
        self._origin = scores[0].clone() if self._origin is None else self._origin
        scores = scores - self._origin
        weights = torch.cat([scores, torch.ones_like(scores[:, :1])], dim=1)
        accumulate(masks, weights, self._sums)
        kept = masks.at(self._lattice.rows, self._lattice.columns).flatten(1)
        self._groups.add(weights, kept, plan.population)

    def close_round(self) -> None:
        """The sums of all rounds are one, but windows of the next are another sample."""
        self._groups.close_round()

    def estimate(self) -> Effect:
        """The map so far. A pixel that no mask has kept yet gets the lowest value of the map."""
        coverage = self._sums[-1]
        kept = coverage > 0
        mean = self._sums[:-1] / coverage
        lowest = torch.where(kept, mean, torch.inf).amin(dim=(1, 2), keepdim=True)
        lowest = lowest.nan_to_num(posinf=0)  # no mask has kept any pixel
        origin = self._reference if self._origin is None else self._origin

        deviations, settled = mean_without_groups(*self._groups.sums(), self._lattice.size)
        return Effect(
            saliency=(origin[:, None, None] + torch.where(kept, mean, lowest)).float(),
            sampled=kept,
            deviations=deviations,
            settled=settled,
            signed=False,
        )
