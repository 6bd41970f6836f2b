"""Occlusion: the mean cost of the windows that hide a pixel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import deviate
from iassa.masks.plans import MaskPlan, sum_windows
from iassa.masks.rendering import Masks


class OcclusionMean:
    """S(x) = sum_i (f(I) - f_i) (1 - M_i(x)) / sum_i (1 - M_i(x)): what hiding the pixel costs.

    The standard error is about the map of all windows of the lattice. N(x) windows hide a pixel;
    n(x) of them are scored, a random sample without replacement. With s^2(x) the variance of the
    costs of those N(x),

        SE^2(x) = (1 - n(x) / N(x)) s^2(x) / n(x)

    which is 0 where all are scored: nothing is left to sample there, and the map is exact. The
    error does not cover another lattice.

    N(x) is six or so with the defaults, too few to see their variance. The further apart windows
    lie the more their costs differ: s^2(x) = k(x) v(x) is assumed, v the variance of the four edges
    of the windows that hide x, and k the same for all pixels around x that a window hides together
    with it. There k is all squares of costs about their pixels' means, over what v
    has them be, the sum of (n - 1) v.
    """

    def __init__(
        self, reference: Tensor, size: tuple[int, int], windows: NDArray[np.int32]
    ) -> None:
        """Start empty sums.

        Args:
            reference: (T,) float64 scores f(I) of the whole image, on the device of the masks.
            size: (height, width) of the map.
            windows: (N, 4) all of the lattice, of which some will be scored, each once.
        """
        self._reference = reference
        # sum of (f(I) - f, its square, 1)(1 - M)
        self._sums = reference.new_zeros((2 * len(reference) + 1, *size))
        number = sum_windows(windows, size)
        squares = np.zeros(size, np.int64)
        for edge in windows.T.astype(np.int64):
            squares += number * sum_windows(windows, size, edge**2)
            squares -= sum_windows(windows, size, edge) ** 2
        self._number = torch.from_numpy(number).to(reference)  # N, (H, W)
        self._spread = torch.from_numpy(squares / np.maximum(1, number * (number - 1)))
        self._spread = self._spread.to(reference)  # v, (H, W)
        # Rows, and columns, that a window can hide together: (H, H) and (W, W) of 0 and 1.
        edges = (windows[:, 2:] - windows[:, :2]).max(0)
        self._together = [
            (torch.arange(length)[:, None] - torch.arange(length)).abs().lt(int(edge)).to(reference)
            for length, edge in zip(size, edges, strict=True)
        ]

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch; see `effect.Estimator.add`. The family does not matter here."""
        cost = self._reference - scores
        weights = torch.cat([cost, cost.square(), torch.ones_like(cost[:, :1])], dim=1)
        # In float64: costs that are much alike differ in the last digits of their squares.
        self._sums += masks.weigh_hidden(weights.T)

    def close_round(self) -> None:
        """Nothing to do: the sums of all rounds are one."""

    def estimate(self) -> Effect:
        """The map so far: 0, with infinite error, where nothing has been hidden yet."""
        count = self._sums[-1]  # n
        total, squares = self._sums[:-1].chunk(2)
        hidden = count > 0
        mean = torch.where(hidden, total / count, 0.0)
        deviations, settled = deviate(self._error(count, mean, squares))
        return Effect(
            saliency=mean.float(),
            sampled=hidden,
            deviations=deviations,
            settled=settled,
            signed=True,
        )

    def _error(self, count: Tensor, mean: Tensor, squares: Tensor) -> Tensor:
        """Standard error (T, H, W), infinite where too few windows were scored."""
        about_mean = squares - count * mean.square()
        about_mean = torch.where(about_mean > 1e-12 * squares, about_mean, 0.0)  # less is rounding
        rows, columns = self._together
        expected = rows @ ((count - 1).clamp(min=0) * self._spread) @ columns
        differ = (rows @ about_mean @ columns) / expected  # k
        variance = (1 - count / self._number) * differ * self._spread / count
        error = torch.where((count > 0) & (expected > 0), variance.sqrt(), torch.inf)
        return torch.where(count == self._number, 0.0, error)
