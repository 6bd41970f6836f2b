"""Kernel regression of the scores on the masks: all pixels at once, attention as a prior.

Where the effect of a pixel is a slope of its own, here one linear model of all cells of a coarse
grid explains the scores, f~ = X~ w + noise, with a Gaussian prior on w: cells that are near and
look alike are expected to matter alike. It is ridge regression with the prior's covariance

    K(a, b) = exp(-|a - b|^2 / (2 length^2)) exp((cos(phi_a, phi_b) - 1) / likeness)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from iassa.estimators.attention import Attention
from iassa.estimators.debiased_effect import DebiasedEffect, Spread, design, invert_design
from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import GROUPS, Lattice
from iassa.image import resize
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Masks


@dataclass(frozen=True)
class Prior:
    """What is expected of w, and of the noise.

    Attributes:
        cells: (rows, columns) of the grid. 28 x 28 take six times as long as 20 x 20.
        length: over which cells are expected to matter alike, as a share of a side.
        likeness: over which cosines of features are.
        masks: number of masks that weigh as much as the prior, where the variance of the noise and
            that of what the prior explains are the same.
    """

    cells: tuple[int, int] = (20, 20)
    length: float = 1 / 7
    likeness: float = 0.3
    masks: int = 1024

    def covariance(self, attention: Attention | None) -> Tensor:
        """K, (C, C) float64 with ones on the diagonal; without attention the place alone."""
        places = (torch.arange(n).double() / n for n in self.cells)
        rows, columns = torch.meshgrid(*places, indexing="ij")
        place = torch.stack([rows.flatten(), columns.flatten()], dim=1)
        covariance = torch.exp(-torch.cdist(place, place).square() / (2 * self.length**2))
        if attention is None:
            return covariance
        planes = resize(attention.planes.double(), self.cells)
        looks = torch.nn.functional.normalize(planes.flatten(1).T, dim=1)
        return covariance.to(looks.device) * torch.exp((looks @ looks.T - 1) / self.likeness)


PRIOR = Prior()


@dataclass(frozen=True, eq=False)
class _Set:
    """What a round has of masks that are confined, or of those that are not; standardised.

    Attributes:
        cells: X~ (N, C) float32.
        scores: f~ (N, T), in units of their spread.
        products: X~^T f~ (C, T).
        groups: (N,) of the jackknife.
        spread: (T,) of the scores, as it counts in the map's unit.
        factors: (GROUPS, T), the spread without each group, as a share of the spread.
    """

    cells: Tensor
    scores: Tensor
    products: Tensor
    groups: Tensor
    spread: Tensor
    factors: Tensor


class KernelRegression:
    """Kernel regression on the masks of all rounds; the map is w per cell, interpolated.

    The prior weighs against the masks, however many, as it would against `Prior.masks` of them, so
    that more masks make the map surer, not another: there is one map for its standard error to be
    about. X~ is kept, 1.6 KB a mask: what leaving out a group changes hangs on the w of all of
    them.
    """

    def __init__(
        self,
        reference: Tensor,
        size: tuple[int, int],
        attention: Attention | None,
        prior: Prior = PRIOR,
    ) -> None:
        """Start empty; see `coverage_mean.CoverageMean`; attention gives the prior its likeness."""
        self._reference = reference
        self._size = size
        self._prior = prior
        self._lattice = Lattice.over(size, reference.device)
        self._covariance = prior.covariance(attention).to(reference)
        # Cells and scores, confined or not, by family; see `Spread`.
        self._open: dict[bool, dict[str, list[tuple[Tensor, Tensor]]]] = {}
        C = len(self._covariance)
        self._gram = reference.new_zeros((C, C))  # X~^T X~
        self._sets: list[_Set] = []
        self._spread = Spread.empty(reference * 0)

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch; see `effect.Estimator.add`."""
        sample = masks.at(self._lattice.rows, self._lattice.columns)
        cells = torch.nn.functional.adaptive_avg_pool2d(sample, self._prior.cells).flatten(1)
        keep_probability = torch.tensor(plan.keep_probability).to(scores)
        known = torch.cat([scores, design(keep_probability)], dim=1)
        families = self._open.setdefault(plan.confined, {})
        families.setdefault(family, []).append((cells, known))

    def close_round(self) -> None:
        """Close the round's sets of masks, one after another."""
        for families in self._open.values():
            self._close(families)
        self._open.clear()

    def _close(self, families: Mapping[str, list[tuple[Tensor, Tensor]]]) -> None:
        """Free cells and scores of the keep probability, standardise and keep them."""
        T = len(self._reference)
        cells, scores, groups, raw = [], [], [], self._reference * 0
        freedom = 0
        for batches in families.values():
            x, known = (torch.cat(part) for part in zip(*batches, strict=True))
            # From the first: small numbers lose fewer digits, and equal ones none.
            f, z = known[:, :T] - known[0, :T], known[:, T:]
            inverse, rank = invert_design(z.T @ z)
            to_design = inverse @ z.T
            cells.append(x - z.to(x) @ (to_design.to(x) @ x))
            scores.append(f - z @ (to_design @ f))
            groups.append(torch.arange(len(f), device=f.device) % GROUPS)
            raw += f.square().sum(0)
            freedom += len(f) - int(rank)
        if freedom <= 0:
            return
        x, f = torch.cat(cells), torch.cat(scores)
        squares = f.square().sum(0)
        squares = torch.where(squares > 1e-12 * raw, squares, 0.0)  # less is rounding
        group = torch.cat(groups)
        without = squares - squares.new_zeros((GROUPS, T)).index_add_(0, group, f.square())
        fewer = freedom - torch.bincount(group, minlength=GROUPS)
        before = self._spread.total
        spread = self._spread.of(squares, squares.new_tensor(freedom))
        factors = (without.clamp(min=0) / fewer.clamp(min=1)[:, None]).sqrt() / spread
        f = torch.where(squares > 0, f / spread, 0.0)
        self._gram += x.T @ x
        self._sets.append(
            _Set(
                cells=x,
                scores=f,
                products=x.T.to(f) @ f,
                groups=group,
                spread=self._spread.total - before,
                factors=torch.where((squares > 0) & (factors > 0), factors, 1.0),
            )
        )

    def estimate(self) -> Effect:
        """Posterior mean of w, in units of the scores' mean spread."""
        if not self._sets:
            zero = self._reference.new_zeros((len(self._reference), *self._size))
            deviations = zero.new_zeros((0, len(zero), *self._lattice.size))
            nowhere = zero.new_zeros(self._lattice.size, dtype=torch.bool)
            return Effect(zero.float(), zero[0] > 0, deviations, nowhere, signed=True)
        products = torch.stack([one.products for one in self._sets], dim=2)  # (C, T, sets)
        count = sum(len(one.scores) for one in self._sets)
        # The prior is scaled so that what it expects to explain has the scores' variance, 1. So has
        # the noise.
        scale = count / (self._gram * self._covariance).sum().clamp(min=1e-12)
        prior = scale * self._covariance
        system = self._gram @ prior / count
        system.diagonal().add_(1 / self._prior.masks)
        factors = torch.linalg.lu_factor(system)

        def solve(columns: Tensor) -> Tensor:
            solution: Tensor = prior @ torch.linalg.lu_solve(*factors, columns)
            return solution

        parts = solve(products.flatten(1) / count).view(products.shape)  # of w, each set's
        mean = parts.sum(2)  # w, (C, T)
        moved = self._move(mean, parts, count, solve)
        unit = self._spread.mean[:, None]
        maps = resize((mean.T * unit).reshape(-1, *self._prior.cells), self._size)
        deviations = (moved.permute(2, 1, 0) * unit).reshape(-1, len(unit), *self._prior.cells)
        everywhere = maps.new_ones(self._size, dtype=torch.bool)
        settled = maps.new_ones(self._lattice.size, dtype=torch.bool)
        deviations = resize(deviations, self._lattice.size)
        return Effect(maps.float(), everywhere, deviations, settled, signed=True)

    def _move(
        self, mean: Tensor, parts: Tensor, count: int, solve: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """How far w moves without each group of masks, (C, T, G), to first order.

        Without a group w loses what the group adds to the equations that w solves, less what a
        group of its size adds on average.
        """
        C, T = mean.shape
        adds, sizes = mean.new_zeros((C, T, GROUPS)), mean.new_zeros(GROUPS)
        for one in self._sets:
            x = one.cells.to(mean)
            left = one.scores - x @ mean
            members = torch.nn.functional.one_hot(one.groups, GROUPS).to(mean)  # (n, G)
            sizes += members.sum(0)
            for t in range(T):
                adds[:, t] += x.T @ (left[:, t, None] * members)
        adds, sizes = adds[:, :, sizes > 0], sizes[sizes > 0]
        adds -= adds.sum(2, keepdim=True) * (sizes / count)
        columns = (adds / (count - sizes).clamp(min=1)).flatten(1)
        moved = -solve(columns).view(adds.shape)
        # And the scores would have been divided by other spreads, and the map multiplied.
        own = torch.stack([one.factors for one in self._sets])  # (sets, G, T)
        spreads = torch.stack([one.spread for one in self._sets])
        weights = spreads / spreads.sum(0).clamp(min=torch.finfo(mean.dtype).tiny)
        change = torch.einsum("rt,rgt->gt", weights, own) - own
        return moved + torch.einsum("ctr,rgt->ctg", parts, change[:, : moved.shape[2]])


class EffectWithKernelRegression:
    """(1 - share) of the debiased effect and share of a kernel regression scaled to its length.

    The two measure different things, the slope of one pixel and its part in a model of all, so the
    second is scaled.
    """

    def __init__(
        self,
        reference: Tensor,
        size: tuple[int, int],
        attention: Attention | None,
        share: float,
        prior: Prior = PRIOR,
    ) -> None:
        """Start both; see `KernelRegression`; `share` is in [0, 1]."""
        self._share = share
        self._parts = (
            DebiasedEffect(reference, size),
            KernelRegression(reference, size, attention, prior),
        )

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch to both; see `effect.Estimator.add`."""
        for part in self._parts:
            part.add(masks, scores, plan, family)

    def close_round(self) -> None:
        """End the round of both."""
        for part in self._parts:
            part.close_round()

    def estimate(self) -> Effect:
        """Both, weighted."""
        effect, kernel = (part.estimate() for part in self._parts)
        size = (effect.deviations.shape[-2], effect.deviations.shape[-1])
        first, second = (resize(e.saliency.double(), size) for e in (effect, kernel))
        without = self._weigh(first + effect.deviations, second + kernel.deviations)
        return Effect(
            saliency=self._weigh(effect.saliency.double(), kernel.saliency.double()).float(),
            sampled=effect.sampled,
            deviations=without - self._weigh(first, second),
            settled=effect.settled & kernel.settled,
            signed=True,
        )

    def _weigh(self, effect: Tensor, kernel: Tensor) -> Tensor:
        """Of maps (..., H, W) in float64, as squares of scores of 1e30 are too large for float32.

        Without a group of masks the lengths are others too: more noise makes a map longer.
        """
        own_length, length = (maps.flatten(-2).norm(dim=-1) for maps in (effect, kernel))
        scale = torch.where(length > 0, own_length / length, 0.0)[..., None, None]
        return (1 - self._share) * effect + self._share * scale * kernel
