"""Effect per pixel: masks and their scores in, streamed sums, a map with its standard error out.

Two estimators of how much the score owes to a pixel, each a running sum over any number of masks:

- `CoverageMean`: Eq. 5 as printed, the mean score of the masks that keep the pixel;
- `DebiasedEffect`: the slope of the score on the mask, cov(score, mask) / var(mask), after both are
  freed of what the keep probability explains. 0 means no effect.

A batch is summed in float32 and added up in float64: a thousand batches would drift otherwise.
Memory depends on the image and the number of targets, not on the number of masks.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from iassa.attention import Attention
from iassa.jackknife import (
    GROUPS,
    GroupedProducts,
    GroupedRounds,
    Lattice,
    interpolate,
    mean_without_groups,
    standard_error,
)
from iassa.masks import MaskPlan
from iassa.rendering import Masks

__all__ = [
    "CoverageMean",
    "DebiasedEffect",
    "Effect",
    "Estimator",
    "adjust",
    "highest_activated_region",
]

# Scores that vary less than this share of the first round's are not blown up to its size: what
# they show would be the rounding of the model.
SMALLEST_SHARE = 0.01
HIGH = 0.3  # the paper's T, Eq. 8
BAND_PIXELS = 2**16  # summed at a time


@dataclass(frozen=True, eq=False)
class Effect:
    """A map and how far it hangs on the masks that were drawn.

    Attributes:
        saliency: (T, H, W) float32, in score units.
        sampled: (H, W) bool, where masks have varied.
        deviations: (G, T, h, w) float64, what leaving out each of G groups of masks changes, at the
            pixels of a lattice; see `jackknife`. An error found otherwise is told by two, at all
            pixels.
        settled: (h, w) bool, where every group could be left out.
        signed: whether 0 is no effect; else the map is a mean score, high or low.
    """

    saliency: Tensor
    sampled: Tensor
    deviations: Tensor
    settled: Tensor
    signed: bool

    @functools.cached_property
    def standard_error(self) -> Tensor:
        """(T, H, W) float32, in score units; infinite where masks have not varied."""
        error = standard_error(self.deviations, self.settled)
        error = interpolate(error, (self.sampled.shape[0], self.sampled.shape[1]))
        return torch.where(self.sampled, error, torch.inf).float()

    @functools.cached_property
    def relative_errors(self) -> tuple[float, ...]:
        """Standard error where the map is high, as a share of its peak, for each target.

        It is the root mean square over the pixels above `HIGH` of the peak; infinite while one of
        them is not known, or masks have yet to vary at any pixel, which may be as high. Elsewhere
        an adaptive method does not look again, so the error there does not fall. The peak of an
        effect is its largest value of either sign, that of a mean score is counted from the lowest.
        """
        shares = []
        for saliency, error in zip(self.saliency, self.standard_error, strict=True):
            height = (saliency.abs() if self.signed else saliency - saliency.min()).double()
            peak = height.max()
            high = (height >= HIGH * peak) | ~self.sampled
            share = error[high].double().square().mean().sqrt()
            # A flat map whose scores do not vary is known.
            shares.append(float(torch.where(share > 0, share / peak, 0.0)))
        return tuple(shares)


class Estimator(Protocol):
    """Streams masks and scores, and gives the map of the rounds that are closed."""

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch to the open round.

        Args:
            masks: N masks of one family.
            scores: (N, T) float64 scores of the masked images.
            plan: what the masks were rendered from.
            family: name of the family.
        """

    def close_round(self) -> None:
        """End the round: what was added to it counts from now on."""

    def estimate(self) -> Effect:
        """The map of all closed rounds."""


class CoverageMean:
    """S(x) = sum_i f_i M_i(x) / sum_i M_i(x): Eq. 5, its E[M] N counted for each pixel.

    The paper's masks cover the image unevenly once they adapt. With one E[M] N for all pixels, one
    that no window ever hid would look most important. All rounds count alike.

    The standard error is about what infinitely many masks would give. Of windows there is no such
    thing: it is about all those of the lattices that they were drawn from, the same lattices in the
    same regions, each weighing as many as were scored of it. A round of which all windows are
    scored is known, and adds nothing to it; with nothing but such rounds the map is exact and its
    error 0. What other lattices would give is not in it.
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
        _accumulate(masks, weights, self._sums)
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


class DebiasedEffect:
    """Slope of the score on the mask at each pixel, freed of the keep probability.

    With z = (1, p, p^2) of each mask, and f~, M~(x) what remains of scores and masks after their
    regression on z within one family of masks and one round,

        numerator(x) = sum_i f~_i M~_i(x)        denominator(x) = sum_i M~_i(x)^2

    are added over families and rounds, and their quotient is the map. Masks that are confined to a
    region hide less, so their scores move less: the scores of a round, those of confined masks
    apart from others, are first divided by their residual standard deviation, and the map is given
    in units of its mean over all masks. With one round it is cov / var given p.

    What infinitely many masks would give, drawn as these were and in the same regions, is what the
    standard error is about. Without a group of masks, all of this is done again.
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


def _accumulate(
    masks: Masks, weights: Tensor, sums: Tensor, squares: Tensor | None = None, ones: int = -1
) -> None:
    """Add masks under weights (N, R) to `sums` (R, H, W), and their squares to `squares` (H, W).

    A band of the image at a time, so that what is added in float32 stays small. `ones` says which
    weight is 1: the squares of masks that are 0 or 1 are the masks.
    """
    height, width = sums.shape[1:]
    step = max(1, BAND_PIXELS // width)
    for start in range(0, height, step):
        rows = slice(start, start + step)
        band = masks.band(rows)
        weighted = band.weigh(weights.T.float())
        sums[:, rows] += weighted
        if squares is not None:
            squares[rows] += weighted[ones] if masks.binary else band.squares()


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
        """(..., T) sum of f~^2; 0 where what is left is rounding, as it is of a flat score."""
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
        _accumulate(masks, known, self._weighted, self._squares, self._num_targets)
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


def adjust(effect: Effect, attention: Attention, beta: float) -> Effect:
    """S' = beta S + (1 - beta) A S (Eq. 6), and the deviations of S' likewise.

    The paper prints (beta - 1), which would subtract the attended map; the authors' code has
    (1 - beta). The deviations are attended to on their lattice.

    Args:
        effect: S.
        attention: A.
        beta: in [0, 1].

    Returns:
        S', of the same shape.
    """
    attended = attention.attend(effect.saliency)  # A S, Eq. 10
    groups, targets, height, width = effect.deviations.shape
    coarse = attention.coarsen((height, width))
    moved = coarse.attend(effect.deviations.flatten(0, 1)).view(groups, targets, height, width)
    return dataclasses.replace(
        effect,
        saliency=beta * effect.saliency + (1 - beta) * attended,
        deviations=beta * effect.deviations + (1 - beta) * moved,
    )


def highest_activated_region(saliency: Tensor, threshold: float) -> Tensor:
    """HAR(S') = S' > T (Eq. 8), with T a share of the map's range.

    Args:
        saliency: (T, H, W).
        threshold: share of the range, min + threshold (max - min), in [0, 1).

    Returns:
        (H, W) bool: the union over the targets, since all are served by the same masks. A flat map
        has no region.
    """
    low = saliency.amin(dim=(1, 2), keepdim=True)
    high = saliency.amax(dim=(1, 2), keepdim=True)
    flat = high - low <= 1e-6 * low.abs().maximum(high.abs())  # attention rounds
    return ((saliency > low + threshold * (high - low)) & ~flat).any(0)
