"""The dependence of the score on each cell: the Hilbert-Schmidt independence criterion, HSIC."""

from __future__ import annotations

import torch
from torch import Tensor

from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import GROUPS
from iassa.image import resize
from iassa.masks.plans import CellPlan, MaskPlan
from iassa.masks.rendering import Masks

BLOCK = 2**21  # numbers of a kernel matrix at a time, 16 MB


class Dependence:
    """HSIC between the bit of each cell and the score (Gretton et al., ALT 2005), in blocks.

    With x_n the bit of a cell in mask n of N, f_n its score and H = 1 - 1 / N,

        HSIC = 1 / N^2 tr(K H L H),    K_nm = 1 + 1/2 - (x_n - x_m)^2,
                                       L_nm = exp(-(f_n - f_m)^2 / (2 w^2))

    with w the median of the scores (Novello et al., 2022; kernels and width as their code has
    them). H takes constants out of K, and K of bits is 2 (x - 1/2)(x - 1/2)^T + 1, so that with
    z = H x

        HSIC = 2 / N^2 z^T L z

    which needs L a few rows at a time. Memory is one bit of a cell and one score a mask, and
    `BLOCK`; time grows with N^2. A median of 0 leaves an L that is 1 for equal scores and 0 for
    others, the limit.

    The standard error is the jackknife's with w as it is, as if masks were drawn each by itself.
    Points of a Sobol sequence are spread more evenly, so it is too large: nearly twice where all
    cells have a part in the score, by far where a few decide it. It is about what as many masks
    would give, drawn anew: of few masks HSIC is too large, as chance alone makes it positive.
    """

    def __init__(self, reference: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> None:
        """Start empty.

        Args:
            reference: (T,) float64 scores of the whole image, on the device of the masks.
            size: (height, width) of the map.
            grid: (rows, columns) of cells.
        """
        self._reference = reference
        self._size = size
        self._grid = grid
        self._bits: list[Tensor] = []
        self._scores: list[Tensor] = []

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch; see `effect.Estimator.add`. The bits are all that matters of the masks."""
        assert isinstance(plan, CellPlan), "HSIC is about cells"
        kept = torch.tensor(plan.values, device=scores.device) >= 0.5
        self._bits.append(kept.flatten(1))
        self._scores.append(scores)

    def close_round(self) -> None:
        """Nothing to do: the masks of all rounds are one sample."""

    def estimate(self) -> Effect:
        """HSIC of each cell, enlarged to the image."""
        if not self._bits:
            return Effect.without_error(
                self._reference.new_zeros((len(self._reference), *self._size)).float()
            )
        bits, scores = torch.cat(self._bits), torch.cat(self._scores)
        self._bits, self._scores = [bits], [scores]
        z = bits.to(scores)
        z -= z.mean(0)
        found = [_jackknife(z, column.contiguous()) for column in scores.T]
        values = torch.stack([value for value, _ in found])  # (T, d)
        without = torch.stack([each for _, each in found], dim=1)  # (G, T, d)
        maps = resize(values.view(-1, *self._grid), self._size)
        return Effect(
            saliency=maps.float(),
            sampled=maps.new_ones(self._size, dtype=torch.bool),
            deviations=(without - values).reshape(-1, len(values), *self._grid),
            settled=maps.new_ones(self._grid, dtype=torch.bool),
            signed=True,
        )


def _jackknife(z: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """HSIC (d,) of cells z (N, d), each column of mean 0, and scores f (N,); and without groups.

    Without a group z^T L z loses what the group has with all others, and z has another mean.

    Returns:
        (d,), and (G, d) without each of the groups; none of a single mask.
    """
    N, d = z.shape
    groups = min(GROUPS, N)
    width = f.sort().values[[(N - 1) // 2, N // 2]].mean()  # the median
    group = torch.arange(N, device=f.device) % groups
    parts = torch.cat([z, torch.ones_like(z[:, :1])], dim=1)  # (z, 1)

    def sum_groups(rows: Tensor) -> Tensor:
        return rows.new_zeros((groups, rows.shape[1])).index_add_(0, group, rows)

    inside = torch.zeros_like(parts)  # L (z, 1) of the masks of the same group
    for g in range(groups):
        inside[g::groups] = _multiply(f[g::groups], width, parts[g::groups])

    def sums(products: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of z L z, 1 L z, z L 1 (G, d) and 1 L 1 (G, 1), the left ones of each group."""
        to_z, to_1 = products[:, :d], products[:, d:]
        return tuple(map(sum_groups, (z * to_z, to_z, z * to_1, to_1)))  # type: ignore[return-value]

    zz, oz, zo, oo = sums(_multiply(f, width, parts))
    zz_in, oz_in, _, oo_in = sums(inside)
    whole = 2 / N**2 * zz.sum(0)
    if groups < 2:
        return whole, zz[:0]
    fewer = N - torch.bincount(group)[:, None].to(z)  # masks that are left
    mean = -sum_groups(z) / fewer
    left = zz.sum(0) - 2 * zz + zz_in
    left = left - 2 * mean * (oz.sum(0) - oz - zo + oz_in)
    left = left + mean.square() * (oo.sum(0) - 2 * oo + oo_in)
    return whole, 2 / fewer.square() * left


def _multiply(f: Tensor, width: Tensor, right: Tensor) -> Tensor:
    """(L - 1) right, a block of rows at a time: H takes the 1 out, and equal scores give 0."""
    products = torch.empty_like(right)
    step = max(1, BLOCK // len(f))
    for start in range(0, len(f), step):
        gap = f[start : start + step, None] - f
        ratio = torch.where(gap == 0, 0.0, gap / width)
        products[start : start + step] = ratio.square_().mul_(-0.5).expm1_() @ right
    return products
