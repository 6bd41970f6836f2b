"""The slope of the score on the mask at each pixel. The keep probability does not bias it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import (
    GROUPS,
    GroupedProducts,
    Lattice,
)
from iassa.estimators.sums import accumulate
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Masks

# Scores that vary less than this share of the first round's are not blown up to its size: what
# they show would be the rounding of the model.
SMALLEST_SHARE = 0.01


class DebiasedEffect:
    """Slope of the score on the mask at each pixel, freed of the keep probability.

    With z = (1, p, p^2) of each mask, and f~, M~(x) what remains of scores and masks after their
    regression on z within one family of masks and one round,

        numerator(x) = sum_i f~_i M~_i(x)        denominator(x) = sum_i M~_i(x)^2

    are added over families and rounds, and their quotient is the map. Masks that are confined to a
    region hide less, so their scores move less: the scores of a round, those of confined masks
    apart from others, are first divided by their residual standard deviation, and the map is given
    in units of its mean over all masks. With one round it is cov / var given p.

    The standard error is about the map of infinitely many masks, drawn as these were and in the
    same regions. All of this is done again without each group of masks.
    """

    def __init__(self, reference: Tensor, size: tuple[int, int]) -> None:
        """Start empty sums; see `CoverageMean`."""
        self._reference = reference
        self._size = size
        self._lattice = Lattice.over(size, reference.device)
        self._open: dict[bool, dict[str, _FamilySums]] = {}  # confined or not, by family
        T, P = len(reference), self._lattice.size[0] * self._lattice.size[1]
        self._slope = _Slope.empty(reference, (T, size[0] * size[1]))
        # The same at the lattice: without each group, and last of all masks.
        self._without = _Slope.empty(reference, (GROUPS + 1, T, P))
        self._groups = 0  # that have masks

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch; see `Estimator.add`."""
        families = self._open.setdefault(plan.confined, {})
        if family not in families:
            families[family] = _FamilySums(self._reference, self._size, self._lattice)
        families[family].add(masks, scores, torch.tensor(plan.keep_probability).to(scores))

    def close_round(self) -> None:
        """Standardise the open round's sums and add them to the others."""
        for families in self._open.values():
            self._close(list(families.values()))
        self._open.clear()

    def _close(self, families: list[_FamilySums]) -> None:
        if sum(float(family.moments().freedom) for family in families) <= 0:
            return  # no more masks than z has columns: nothing is left of them
        self._groups = max([self._groups, *(min(family.count, GROUPS) for family in families)])
        self._without.add([family.moments_without_groups() for family in families])
        # Each is let go once it is added: at 1024 x 1024 it holds 40 MB.
        self._slope.add([families.pop(0).moments() for _ in range(len(families))])

    def estimate(self) -> Effect:
        """The map of all closed rounds: 0, with infinite error, where no mask has varied yet."""
        slope, sampled = self._slope.quotient()
        without, settled = self._without.quotient()
        sampled = sampled.view(self._size)
        slope = slope.view(-1, *self._size)
        # Of maps from the same float64 sums: the rounding of the large map's would count for each
        # group.
        deviations = without[: self._groups] - without[-1]
        deviations = deviations.view(self._groups, len(slope), *self._lattice.size)
        settled = (settled[: self._groups].all(0) & settled[-1]).view(self._lattice.size)
        deviations = torch.where(settled, deviations, 0.0)
        return Effect(slope.float(), sampled, deviations, settled, signed=True)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Sums over the masks of one family in one round, at P pixels; of all masks or of several sets.

    Attributes:
        weighted: (..., T + 3, P), sum of (f, z) M.
        squares: (..., P), sum of M^2.
        gram: (..., T + 3, T + 3), sum of (f, z) (f, z)^T.
    """

    weighted: Tensor
    squares: Tensor
    gram: Tensor

    @property
    def num_targets(self) -> int:
        return self.gram.shape[-1] - 3

    @property
    def freedom(self) -> Tensor:
        """(...), masks less the rank of z."""
        count = self.gram[..., self.num_targets, self.num_targets]  # z begins with 1
        return count - self._inverse[1]

    @property
    def score_squares(self) -> Tensor:
        """(..., T) sum of f~^2; 0 where the rest is rounding, as for a flat score."""
        T = self.num_targets
        total = self.gram[..., :T, :T].diagonal(dim1=-2, dim2=-1)
        left = total - (self._coefficients() * self.gram[..., :T, T:]).sum(-1)
        return torch.where(left > 1e-12 * total, left, 0.0)

    def residuals(self) -> tuple[Tensor, Tensor]:
        """Sums over the masks of f~ M~, (..., T, P), and of M~^2, (..., P)."""
        T = self.num_targets
        on_masks = self.weighted[..., T:, :]
        mask_squares = self.squares.clone()
        inverse = self._inverse[0]
        for i in range(3):  # a row at a time: they are the size of the image
            explained = inverse[..., i : i + 1, :] @ on_masks
            mask_squares -= explained.squeeze(-2).mul_(on_masks[..., i, :])
        products = self.weighted[..., :T, :] - self._coefficients() @ on_masks
        # Where a mask never varies the difference is rounding, of the size of float32 sums.
        constant = mask_squares <= 1e-5 * self.squares
        flat = (self.score_squares == 0)[..., None]
        products.masked_fill_(constant[..., None, :] | flat, 0)
        return products, mask_squares.masked_fill_(constant, 0)

    @functools.cached_property
    def _inverse(self) -> tuple[Tensor, Tensor]:
        return invert_design(self.gram[..., self.num_targets :, self.num_targets :])

    def _coefficients(self) -> Tensor:
        """(..., T, 3) of f on z."""
        return self.gram[..., : self.num_targets, self.num_targets :] @ self._inverse[0]


class _FamilySums:
    """Streams the moments of one family of masks in one round, and those of its groups."""

    def __init__(self, reference: Tensor, size: tuple[int, int], lattice: Lattice) -> None:
        self._num_targets = len(reference)
        rows = self._num_targets + 3
        self._lattice = lattice
        self._weighted = reference.new_zeros((rows, *size))
        self._squares = reference.new_zeros(size)
        pixels = lattice.size[0] * lattice.size[1]
        self._grams = GroupedProducts((rows, rows), reference)
        self._masks = GroupedProducts((rows, 2 * pixels), reference)
        self._origin: Tensor | None = None  # as in `CoverageMean`
        self.count = 0

    def add(self, masks: Masks, scores: Tensor, keep_probability: Tensor) -> None:
        self._origin = scores[0].clone() if self._origin is None else self._origin
        known = torch.cat([scores - self._origin, design(keep_probability)], dim=1)
        accumulate(masks, known, self._weighted, self._squares, self._num_targets)
        sample = masks.at(self._lattice.rows, self._lattice.columns).flatten(1)
        self._masks.add(known, torch.cat([sample, sample.square()], dim=1))
        self._grams.add(known, known)
        self.count += len(known)

    def moments(self) -> _Moments:
        """Of all masks, at all pixels."""
        gram = self._grams.sums().sum(0)
        return _Moments(self._weighted.flatten(1), self._squares.flatten(), gram)

    def moments_without_groups(self) -> _Moments:
        """At the lattice, of all masks but those of each group, and last of all: GROUPS + 1."""
        weighted, squares = self._masks.sums().chunk(2, dim=2)
        parts = (weighted, squares[:, self._num_targets], self._grams.sums())
        and_none = (torch.cat([part, torch.zeros_like(part[:1])]) for part in parts)
        return _Moments(*(part.sum(0) - part for part in and_none))


@dataclass(eq=False)
class _Slope:
    """Numerator (..., T, P) and denominator (..., P) of the effect, summed over rounds."""

    numerator: Tensor
    denominator: Tensor
    spread: Spread

    @classmethod
    def empty(cls, like: Tensor, shape: tuple[int, ...]) -> Self:
        *sets, targets, pixels = shape
        zeros = like.new_zeros
        return cls(zeros(shape), zeros((*sets, pixels)), Spread.empty(zeros((*sets, targets))))

    def add(self, families: list[_Moments]) -> None:
        """Add families of a round, letting go of each: the list is empty afterwards."""
        freedom = torch.stack([family.freedom for family in families]).sum(0)
        squares = torch.stack([family.score_squares for family in families]).sum(0)
        spread = self.spread.of(squares, freedom)
        enough = freedom > 0  # without a group there may be no more masks than z has columns
        while families:
            products, mask_squares = families.pop(0).residuals()
            self.numerator += products.div_(spread[..., None]) * enough[..., None, None]
            self.denominator += mask_squares * enough[..., None]

    def quotient(self) -> tuple[Tensor, Tensor]:
        """The slope (..., T, P), 0 where no mask has varied, and where any has (..., P)."""
        sampled = self.denominator > 0
        slope = self.spread.mean[..., None] * self.numerator / self.denominator[..., None, :]
        return torch.where(sampled[..., None, :], slope, 0.0), sampled


@dataclass(eq=False)
class Spread:
    """Residual standard deviation of the scores, (..., T), of one set of masks after another.

    A set is what a round has of masks that are confined, or of those that are not.

    Attributes:
        first: of the first set whose scores moved; 0 before.
        total: sum over the sets whose scores moved, by no less than `SMALLEST_SHARE` of that, each
            times its degrees of freedom.
        freedom: sum of these.
    """

    first: Tensor
    total: Tensor
    freedom: Tensor

    @classmethod
    def empty(cls, zeros: Tensor) -> Self:
        """Of no masks yet; `zeros` is (..., T)."""
        return cls(zeros.clone(), zeros.clone(), zeros.clone())

    @property
    def mean(self) -> Tensor:
        """Over all masks: the unit of the map. That of one set alone would err for ever."""
        return self.total / self.freedom.clamp(min=1)

    def of(self, squares: Tensor, freedom: Tensor) -> Tensor:
        """What to divide the scores of the next set by.

        Args:
            squares: (..., T) sum of f~^2 of the set.
            freedom: (...), degrees of freedom of it.

        Returns:
            (..., T), no less than `SMALLEST_SHARE` of the first; 1 for scores that never moved.
        """
        freedom = freedom.clamp(min=1)[..., None].to(squares)
        spread = (squares / freedom).sqrt()
        self.first = torch.where(self.first > 0, self.first, spread)
        moved = (spread > 0) & (spread >= SMALLEST_SHARE * self.first)
        self.total = self.total + torch.where(moved, spread * freedom, 0.0)
        self.freedom = self.freedom + torch.where(moved, freedom, 0.0)
        spread = spread.maximum(SMALLEST_SHARE * self.first)
        return torch.where(spread > 0, spread, 1.0)


def design(keep_probability: Tensor) -> Tensor:
    """Make z = (1, q, q^2) with q = 2 p - 1: the same span as (1, p, p^2), better conditioned.

    Args:
        keep_probability: (N,) float64.

    Returns:
        (N, 3) float64.
    """
    q = 2 * keep_probability - 1
    return torch.stack([torch.ones_like(q), q, q.square()], dim=1)


def invert_design(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Pseudo-inverse of sum z z^T (..., 3, 3) and its rank, 1 where all masks have one p."""
    values, vectors = torch.linalg.eigh(gram)
    large = values > 1e-9 * values.amax(-1, keepdim=True)
    inverse = torch.where(large, 1 / values, 0.0)
    return (vectors * inverse[..., None, :]) @ vectors.mT, large.sum(-1)
