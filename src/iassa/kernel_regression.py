"""Kernel regression of the scores on the masks: all pixels at once, attention as a prior.

Where the effect of a pixel is a slope of its own, here one linear model of all cells of a coarse
grid explains the scores, f~ = X~ w + noise, with a Gaussian prior on w: cells that are near and
look alike are expected to matter alike. It is ridge regression with the prior's covariance

    K(a, b) = exp(-|a - b|^2 / (2 LENGTH^2)) exp((cos(phi_a, phi_b) - 1) / LIKENESS)

It streams: X~^T X~ and X~^T f~ are sums over masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iassa.attention import Attention
from iassa.image import resize
from iassa.jackknife import GROUPS, GroupedProducts, Lattice
from iassa.masks import MaskPlan
from iassa.rendering import Masks
from iassa.saliency import DebiasedEffect, Effect, design, invert_design, standardise

__all__ = ["EffectWithKernelRegression", "KernelRegression", "prior_covariance"]

CELLS = (14, 14)  # with 28 x 28 the algebra takes fifty times as long
LENGTH = 1 / 7  # of a side
LIKENESS = 0.3
NOISE_SHARE = 0.5  # variance of the noise, that of the scores being 1
PRIOR_MASKS = 512  # against whose weight the prior is set


def prior_covariance(attention: Attention | None, cells: tuple[int, int]) -> Tensor:
    """K over cells, (P, P) float64 with ones on the diagonal; without attention the place alone."""
    rows, columns = torch.meshgrid(*(torch.arange(n).double() / n for n in cells), indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    covariance = torch.exp(-torch.cdist(place, place).square() / (2 * LENGTH**2))
    if attention is None:
        return covariance
    planes = attention.features.T.reshape(-1, *attention.size).double()
    looks = torch.nn.functional.normalize(resize(planes, cells).flatten(1).T, dim=1)
    return covariance.to(looks.device) * torch.exp((looks @ looks.T - 1) / LIKENESS)


class KernelRegression:
    """Streamed kernel regression; the map is w per cell, interpolated.

    The prior weighs against the masks, however many, as it would against `PRIOR_MASKS` of them, so
    that more masks make the map surer, not another: there is one map for its standard error to be
    about.
    """

    def __init__(
        self, reference: Tensor, size: tuple[int, int], attention: Attention | None
    ) -> None:
        """Start empty sums; see `saliency.CoverageMean`; attention gives the prior its likeness."""
        self._reference = reference
        self._size = size
        self._lattice = Lattice.over(size, reference.device)
        self._covariance = prior_covariance(attention, CELLS).to(reference)
        C = CELLS[0] * CELLS[1]
        self._open: dict[str, _FamilySums] = {}
        # Sums over each group of masks; those of the scores are in units of a round's spread.
        self._gram = reference.new_zeros((GROUPS, C, C), dtype=torch.float32)
        self._product = reference.new_zeros((GROUPS, C, len(reference)))
        self._count = reference.new_zeros(GROUPS)
        self._unit = torch.zeros_like(reference)

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch; see `saliency.Estimator.add`."""
        sample = masks.at(self._lattice.rows, self._lattice.columns)
        cells = torch.nn.functional.adaptive_avg_pool2d(sample, CELLS).flatten(1)
        keep_probability = torch.tensor(plan.keep_probability).to(scores)
        if family not in self._open:
            C, V = cells.shape[1], scores.shape[1] + 3
            self._open[family] = _FamilySums(
                scores[0].clone(),
                GroupedProducts((C, C), cells),
                GroupedProducts((C, V), scores),
                GroupedProducts((V, V), scores),
            )
        self._open[family].add(cells, scores, design(keep_probability))

    def close_round(self) -> None:
        """Free the round's sums of the keep probability, standardise and add them."""
        T = len(self._reference)
        families = [family.residuals(T) for family in self._open.values()]
        self._open.clear()
        if not families:
            return
        squares = torch.stack([family.score_squares for family in families]).sum(0)
        freedom = torch.stack([family.freedom for family in families]).sum(0)
        if freedom <= 0:
            return
        spread, self._unit = standardise(squares, freedom, self._unit)
        for family in families:
            self._gram += family.cells
            self._gram.baddbmm_(family.left, family.right.mT, alpha=-1)
            self._product += torch.where(squares > 0, family.product / spread, 0.0)
            self._count += family.count

    def estimate(self) -> Effect:
        """Posterior mean of w, in units of the first round's scores."""
        count = self._count.sum()
        shape = (len(self._reference), *self._size)
        settled = torch.ones(self._lattice.size, dtype=torch.bool, device=count.device)
        if count == 0:
            zero = self._reference.new_zeros(shape)
            deviations = zero.new_zeros((0, shape[0], *self._lattice.size))
            return Effect(zero.float(), zero[0] > 0, deviations, settled & False)
        gram, product = self._gram.sum(0).double(), self._product.sum(0)
        # The prior is scaled so that what it expects to explain has the scores' variance, 1, and
        # the noise NOISE_SHARE of that.
        scale = count / (gram * self._covariance).sum().clamp(min=1e-12)
        prior = scale * self._covariance
        system = gram @ prior / count
        system.diagonal().add_(NOISE_SHARE / PRIOR_MASKS)
        factors = torch.linalg.lu_factor(system)
        mean = prior @ torch.linalg.lu_solve(*factors, product / count)  # w, (C, T)

        # What leaving out a group changes, to first order: minus its share of the equations that w
        # solves, less the share that a group of its size would have.
        occupied = self._count > 0
        sizes = self._count[occupied, None, None]
        share = self._product[occupied] - self._gram[occupied].double() @ mean
        share = share - (product - gram @ mean) * (sizes / count)
        columns = (share / (count - sizes).clamp(min=1)).permute(1, 0, 2).flatten(1)
        moved = -(prior @ torch.linalg.lu_solve(*factors, columns))
        deviations = moved.view(len(prior), -1, shape[0]).permute(1, 2, 0) * self._unit[:, None]

        maps = resize((mean.T * self._unit[:, None]).reshape(-1, *CELLS), self._size)
        deviations = resize(deviations.reshape(*deviations.shape[:2], *CELLS), self._lattice.size)
        sampled = torch.ones(self._size, dtype=torch.bool, device=count.device)
        return Effect(maps.float(), sampled, deviations, settled)


@dataclass(frozen=True, eq=False)
class _FamilySums:
    """Sums over each group of masks of one family in one round."""

    origin: Tensor  # (T,) that scores are taken from, the first: small numbers lose fewer digits
    on_cells: GroupedProducts  # x x^T
    between: GroupedProducts  # x (f, z)^T
    on_known: GroupedProducts  # (f, z) (f, z)^T

    def add(self, cells: Tensor, scores: Tensor, z: Tensor) -> None:
        known = torch.cat([scores - self.origin, z], dim=1)
        self.on_cells.add(cells, cells)
        self.between.add(cells, known)
        self.on_known.add(known, known)

    def residuals(self, num_targets: int) -> _Residuals:
        """What a regression of cells and scores on z leaves of the sums."""
        T = num_targets
        cells, between, known = (
            sums.sums() for sums in (self.on_cells, self.between, self.on_known)
        )
        total = known.sum(0)
        inverse, rank = invert_design(total[T:, T:])
        of_cells = between.sum(0)[:, T:] @ inverse  # (C, 3), coefficients of x on z
        of_scores = total[:T, T:] @ inverse  # (T, 3), of f
        # (x - Gx z)(f - Gf z)^T = x f^T - x z^T Gf^T - Gx z f^T + Gx z z^T Gf^T, and with x for f,
        # where it is x x^T - Gx H^T - H Gx^T with H = x z^T - Gx z z^T / 2.
        scores, design_ = between[:, :, :T], between[:, :, T:]
        on_design = known[:, T:, T:]
        product = scores - design_ @ of_scores.T - of_cells @ known[:, T:, :T]
        product = product + of_cells @ on_design @ of_scores.T
        half = (design_ - of_cells @ on_design / 2).to(cells)
        same = of_cells.to(cells).expand_as(half)
        left, right = torch.cat([same, half], dim=2), torch.cat([half, same], dim=2)
        raw = total[:T, :T].diagonal()
        squares = raw - (of_scores * total[:T, T:]).sum(1)
        squares = torch.where(squares > 1e-12 * raw, squares, 0.0)  # less is rounding
        counts = on_design[:, 0, 0]  # z begins with 1
        return _Residuals(cells, left, right, product, squares, counts, counts.sum() - rank)


@dataclass(frozen=True, eq=False)
class _Residuals:
    """Sums over each group of what is left of cells and scores.

    Attributes:
        cells: (G, C, C) float32, which cells leave before the regression on z.
        left: (G, C, 6) float32.
        right: (G, C, 6) float32; left right^T is what that regression takes off.
        product: (G, C, T).
        score_squares: (T,), over all groups.
        count: (G,) masks.
        freedom: masks of all groups less the rank of z.
    """

    cells: Tensor
    left: Tensor
    right: Tensor
    product: Tensor
    score_squares: Tensor
    count: Tensor
    freedom: Tensor


class EffectWithKernelRegression:
    """(1 - share) of the debiased effect and share of a kernel regression scaled to its length.

    The two measure different things, the slope of one pixel and its part in a model of all, so the
    second is scaled.
    """

    def __init__(
        self, reference: Tensor, size: tuple[int, int], attention: Attention | None, share: float
    ) -> None:
        """Start both; see `KernelRegression`; `share` is in [0, 1]."""
        self._share = share
        self._parts = (
            DebiasedEffect(reference, size),
            KernelRegression(reference, size, attention),
        )

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch to both; see `saliency.Estimator.add`."""
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
        )

    def _weigh(self, effect: Tensor, kernel: Tensor) -> Tensor:
        """Of maps (..., H, W) in float64, as squares of scores of 1e30 are too large for float32.

        Without a group of masks the lengths are others too: more noise makes a map longer.
        """
        own_length, length = (maps.flatten(-2).norm(dim=-1) for maps in (effect, kernel))
        scale = torch.where(length > 0, own_length / length, 0.0)[..., None, None]
        return (1 - self._share) * effect + self._share * scale * kernel
