"""The total-order Sobol index of each cell: its share of the variance of the score."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import GROUPS
from iassa.image import resize
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Masks

FEWEST = 8  # designs whose differences say how much designs differ


class TotalOrder:
    """Jansen's estimator (Comput. Phys. Comm. 117, 1999), streamed.

    With a_j and b_j the first two masks of design j and a_j^(i) the one where cell i is b_j's,

        ST_i = 1 / (2 N) sum_j (f(a_j) - f(a_j^(i)))^2 / V

    over the N designs that have asked about cell i. V is the variance of all scores, whose masks
    have all one distribution; the literature takes f(a_j) alone, which for one design is none. V is
    the same for all cells: their order does not depend on it.

    The standard error is the jackknife's over designs, as if each were drawn by itself. Points of
    a Sobol sequence are spread more evenly than that, so it is rather too large than too small. It
    is infinite for cells that fewer than `FEWEST` designs have asked about.
    """

    def __init__(
        self,
        reference: Tensor,
        size: tuple[int, int],
        grid: tuple[int, int],
        order: NDArray[np.integer],
    ) -> None:
        """Start empty sums.

        Args:
            reference: (T,) float64 scores of the whole image, on the device of the masks.
            size: (height, width) of the map.
            grid: (rows, columns), d cells.
            order: (d,) of the cells in a design, see `draw_designs`.
        """
        self._size = size
        self._grid = grid
        self._order = torch.tensor(order, device=reference.device)
        T, cells = len(reference), len(order)
        self._halves = reference.new_zeros((GROUPS, cells, T))  # sum of (f(a) - f(a^(i)))^2 / 2
        self._counts = reference.new_zeros((GROUPS, cells))
        self._moments = reference.new_zeros((GROUPS, 2 * T + 1))  # sum of f, f^2, 1, all masks
        self._origin: Tensor | None = None  # the first score: differences to it lose fewer digits
        self._last = reference.new_zeros((1, T))  # f(a) of the design that was begun
        self._number = 0  # masks so far

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch; see `effect.Estimator.add`. A mask's place in its design is its number."""
        if self._origin is None:
            self._origin = scores[0].clone()
        f = scores - self._origin
        length = len(self._order) + 2
        number = self._number + torch.arange(len(f), device=f.device)
        place, group = number % length, number // length % GROUPS
        self._number += len(f)
        moments = torch.cat([f, f.square(), torch.ones_like(f[:, :1])], dim=1)
        self._moments.index_add_(0, group, moments)
        begins = place == 0
        known = torch.cat([self._last, f[begins]])
        first = known[begins.cumsum(0)]  # f(a) of each mask's design
        self._last = known[-1:]
        one = place >= 2  # masks with one cell of b
        where = (group[one], self._order[place[one] - 2])
        half = (f[one] - first[one]).square() / 2
        self._halves.index_put_(where, half, accumulate=True)
        self._counts.index_put_(where, torch.ones_like(half[:, 0]), accumulate=True)

    def close_round(self) -> None:
        """Nothing to do: the sums of all rounds are one."""

    def estimate(self) -> Effect:
        """ST of each cell, enlarged to the image; 0 where no design has asked yet."""
        designs = -(-self._number // (len(self._order) + 2))
        groups = min(designs, GROUPS)
        sums = (self._halves, self._counts, self._moments)
        index = _index(*(each.sum(0) for each in sums))  # (T, d)
        without = [_index(*(each.sum(0) - each[g] for each in sums)) for g in range(groups)]
        shape = (-1, len(index), *self._grid)
        deviations = (torch.stack(without) - index if without else index[None][:0]).reshape(shape)
        settled = ((self._counts > 0).sum(0) >= FEWEST).view(self._grid)
        rows, columns = (
            torch.arange(pixels, device=settled.device) * cells // pixels
            for pixels, cells in zip(self._size, self._grid, strict=True)
        )
        return Effect(
            saliency=resize(index.view(shape[1:]), self._size).float(),
            sampled=settled[rows][:, columns],
            deviations=torch.where(settled, deviations, 0.0),
            settled=settled,
            signed=True,
        )


def _index(halves: Tensor, counts: Tensor, moments: Tensor) -> Tensor:
    """ST (T, d) from the sums over some designs; 0 where the score does not vary."""
    T = (len(moments) - 1) // 2
    number = moments[-1]
    squares = moments[T:-1] - moments[:T].square() / number.clamp(min=1)
    variance = squares / (number - 1).clamp(min=1)
    raw = torch.where(squares > 1e-12 * moments[T:-1], variance, 0.0)  # less is rounding
    index = halves / counts.clamp(min=1)[:, None] / raw
    return torch.where(raw > 0, index, 0.0).T
