"""Effect per pixel: masks and their scores in, streamed sums, a map with its standard error out.

Two estimators of how much the score owes to a pixel, each a running sum over any number of masks:

- `CoverageMean`: Eq. 5 as printed, the mean score of the masks that keep the pixel;
- `DebiasedEffect`: the slope of the score on the mask, cov(score, mask) / var(mask), after both are
  freed of what the keep probability explains. 0 means no effect.

A batch is summed in float32 and added up in float64: a thousand batches would drift otherwise.
Memory depends on the image and the number of targets, not on the number of masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from iassa.attention import Attention
from iassa.rendering import Masks

__all__ = [
    "CoverageMean",
    "DebiasedEffect",
    "Effect",
    "Estimator",
    "adjust",
    "highest_activated_region",
]

# Scores of a round that vary less than this share of the first round's are not blown up to its
# size: what they show would be the rounding of the model.
SMALLEST_SHARE = 0.01
BAND_PIXELS = 2**16  # summed at a time


@dataclass(frozen=True, eq=False)
class Effect:
    """A map and how well it is known.

    Attributes:
        saliency: (T, H, W) float32, in score units.
        standard_error: (T, H, W) float32, in score units; infinite where a pixel was never sampled.
    """

    saliency: Tensor
    standard_error: Tensor


class Estimator(Protocol):
    """Streams masks and scores, and gives the map of the rounds that are closed."""

    def add(self, masks: Masks, scores: Tensor, keep_probability: Tensor, family: str) -> None:
        """Add a batch to the open round.

        Args:
            masks: N masks of one family.
            scores: (N, T) float64 scores of the masked images.
            keep_probability: (N,) float64.
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
    """

    def __init__(self, reference: Tensor, size: tuple[int, int]) -> None:
        """Start empty sums.

        Args:
            reference: (T,) float64 scores of the whole image, on the device of the masks.
            size: (height, width) of the map.
        """
        # Sums are of differences to the first score: small numbers lose fewer digits, and equal
        # ones none.
        self._origin: Tensor | None = None
        self._reference = reference
        num_targets, device = len(reference), reference.device
        rows = 2 * num_targets + 1  # f, f^2 and 1
        self._sums = torch.zeros((rows, *size), dtype=torch.float64, device=device)
        self._squares = torch.zeros(size, dtype=torch.float64, device=device)

    def add(self, masks: Masks, scores: Tensor, keep_probability: Tensor, family: str) -> None:
        """Add a batch; see `Estimator.add`. Neither the family nor the probability matters here."""
        self._origin = scores[0].clone() if self._origin is None else self._origin
        scores = scores - self._origin
        weights = torch.cat([scores, scores.square(), torch.ones_like(scores[:, :1])], dim=1)
        _accumulate(masks, weights, -1, self._sums, self._squares)

    def close_round(self) -> None:
        """Nothing to do: the sums of all rounds are one."""

    def estimate(self) -> Effect:
        """The map so far. A pixel that no mask has kept yet gets the lowest value of the map."""
        coverage = self._sums[-1]
        kept = coverage > 0
        mean, second = (self._sums[:-1] / coverage).chunk(2)
        # The error of a weighted mean: variance / n_eff with n_eff = (sum M)^2 / sum M^2.
        variance = (second - mean.square()).clamp(min=0)
        error = (variance * self._squares).sqrt() / coverage
        lowest = torch.where(kept, mean, torch.inf).amin(dim=(1, 2), keepdim=True)
        lowest = lowest.nan_to_num(posinf=0)  # no mask has kept any pixel
        origin = self._reference if self._origin is None else self._origin
        return Effect(
            saliency=(origin[:, None, None] + torch.where(kept, mean, lowest)).float(),
            standard_error=torch.where(kept, error, torch.inf).float(),
        )


class DebiasedEffect:
    """Slope of the score on the mask at each pixel, freed of the keep probability.

    With z = (1, p, p^2) of each mask, and f~, M~(x) what remains of scores and masks after their
    regression on z within one family of masks and one round,

        numerator(x) = sum_i f~_i M~_i(x)        denominator(x) = sum_i M~_i(x)^2

    are added over families and rounds, and their quotient is the map. A later round hides less, so
    its scores move less: each round's scores are first divided by their residual standard
    deviation, and the map is given in units of the first round's. With one round it is cov / var
    given p.

    The standard error is that of a regression slope, taking the noise to be alike for all masks.
    """

    def __init__(self, reference: Tensor, size: tuple[int, int]) -> None:
        """Start empty sums; see `CoverageMean`."""
        self._reference = reference
        self._size = size
        self._open: dict[str, _FamilySums] = {}
        self._numerator = reference.new_zeros((len(reference), *size))
        self._denominator = reference.new_zeros(size)
        self._unit: Tensor | None = None  # (T,) residual standard deviation of the first round

    def add(self, masks: Masks, scores: Tensor, keep_probability: Tensor, family: str) -> None:
        """Add a batch; see `Estimator.add`."""
        if family not in self._open:
            self._open[family] = _FamilySums(self._reference, self._size)
        self._open[family].add(masks, scores, keep_probability)

    def close_round(self) -> None:
        """Standardise the open round's sums and add them to the others."""
        families = list(self._open.values())
        self._open.clear()
        freedom = sum(family.freedom for family in families)
        if freedom <= 0:
            return  # fewer masks than z has columns: nothing is left of them
        squares = torch.stack([family.score_squares for family in families]).sum(0)
        spread, self._unit = standardise(squares, freedom, self._unit)
        spread = spread[:, None, None]
        while families:  # each is let go once it is added: at 1024 x 1024 it holds 40 MB
            products, mask_squares = families.pop(0).residuals()
            self._numerator += products / spread
            self._denominator += mask_squares

    def estimate(self) -> Effect:
        """The map of all closed rounds: 0, with infinite error, where no mask has varied yet."""
        unit = self._reference * 0 if self._unit is None else self._unit
        unit = unit[:, None, None]
        sampled = self._denominator > 0
        slope = torch.where(sampled, unit * self._numerator / self._denominator, 0.0)
        error = torch.where(sampled, unit * self._denominator.rsqrt(), torch.inf)
        return Effect(slope.float(), error.float())


def _accumulate(masks: Masks, weights: Tensor, ones: int, sums: Tensor, squares: Tensor) -> None:
    """Add masks under weights (N, R) to `sums` (R, H, W), and their squares to `squares` (H, W).

    A band of the image at a time, so that what is added in float32 stays small. `ones` says which
    weight is 1: the squares of masks that are 0 or 1 are the masks.
    """
    height, width = squares.shape
    step = max(1, BAND_PIXELS // width)
    for start in range(0, height, step):
        rows = slice(start, start + step)
        band = masks.band(rows)
        weighted = band.weigh(weights.T.float())
        sums[:, rows] += weighted
        squares[rows] += weighted[ones] if masks.binary else band.squares()


class _FamilySums:
    """Streamed sums of one family of masks in one round."""

    def __init__(self, reference: Tensor, size: tuple[int, int]) -> None:
        self._num_targets = len(reference)
        rows = self._num_targets + 3
        self._weighted = reference.new_zeros((rows, *size))  # sum of (f, z) M
        self._squares = reference.new_zeros(size)  # sum of M^2
        self._gram = reference.new_zeros((rows, rows))  # sum of (f, z) (f, z)^T
        self._origin: Tensor | None = None  # as in `CoverageMean`
        self._count = 0

    def add(self, masks: Masks, scores: Tensor, keep_probability: Tensor) -> None:
        self._origin = scores[0].clone() if self._origin is None else self._origin
        scores = scores - self._origin
        known = torch.cat([scores, design(keep_probability)], dim=1)
        _accumulate(masks, known, self._num_targets, self._weighted, self._squares)
        self._gram += known.T @ known
        self._count += len(known)

    @property
    def freedom(self) -> int:
        """Masks less the rank of z."""
        return self._count - self._inverse()[1]

    @property
    def score_squares(self) -> Tensor:
        """(T,) sum of f~^2; 0 where what is left is rounding, as it is of a flat score."""
        T = self._num_targets
        total = self._gram[:T, :T].diagonal()
        left = total - (self._coefficients() * self._gram[:T, T:]).sum(1)
        return torch.where(left > 1e-12 * total, left, 0.0)

    def residuals(self) -> tuple[Tensor, Tensor]:
        """Sums over the masks of f~ M~, (T, H, W), and of M~^2, (H, W)."""
        T = self._num_targets
        on_masks = self._weighted[T:]
        mask_squares = self._squares.clone()
        for row, plane in zip(self._inverse()[0], on_masks, strict=True):
            mask_squares -= torch.tensordot(row, on_masks, 1) * plane
        products = self._weighted[:T] - torch.tensordot(self._coefficients(), on_masks, 1)
        # Where a mask never varies the difference is rounding, of the size of float32 sums.
        constant = mask_squares <= 1e-5 * self._squares
        flat = (self.score_squares == 0)[:, None, None]
        return products.masked_fill_(constant | flat, 0), mask_squares.masked_fill_(constant, 0)

    def _inverse(self) -> tuple[Tensor, int]:
        return invert_design(self._gram[self._num_targets :, self._num_targets :])

    def _coefficients(self) -> Tensor:
        """(T, 3) of f on z."""
        return self._gram[: self._num_targets, self._num_targets :] @ self._inverse()[0]


def standardise(squares: Tensor, freedom: int, unit: Tensor | None) -> tuple[Tensor, Tensor]:
    """What to divide a round's scores by, and the unit that the map is given in.

    Args:
        squares: (T,) sum of f~^2 of the round.
        freedom: degrees of freedom of it, above 0.
        unit: (T,) of the rounds before; None in the first.

    Returns:
        (T,) residual standard deviation, no less than `SMALLEST_SHARE` of the unit, 1 for scores
        that never moved; and (T,) the unit: that of the first round whose scores moved.
    """
    spread = (squares / freedom).sqrt()
    started = spread if unit is None else unit
    unit = torch.where(started > 0, started, spread)
    spread = spread.maximum(SMALLEST_SHARE * unit)
    return torch.where(spread > 0, spread, 1.0), unit


def design(keep_probability: Tensor) -> Tensor:
    """Make z = (1, q, q^2) with q = 2 p - 1: the same span as (1, p, p^2), better conditioned.

    Args:
        keep_probability: (N,) float64.

    Returns:
        (N, 3) float64.
    """
    q = 2 * keep_probability - 1
    return torch.stack([torch.ones_like(q), q, q.square()], dim=1)


def invert_design(gram: Tensor) -> tuple[Tensor, int]:
    """Pseudo-inverse of sum z z^T and its rank: 1 where the keep probability is constant."""
    values, vectors = torch.linalg.eigh(gram)
    large = values > 1e-9 * values.max()
    inverse = torch.where(large, 1 / values, 0.0)
    return (vectors * inverse) @ vectors.T, int(large.sum())


def adjust(effect: Effect, attention: Attention, beta: float) -> Effect:
    """S' = beta S + (1 - beta) A S (Eq. 6).

    The paper prints (beta - 1), which would subtract the attended map; the authors' code has
    (1 - beta). The standard error takes the pixels that A averages to err together, which they do
    at worst; pixels whose error is infinite are left out of that average.

    Args:
        effect: S.
        attention: A.
        beta: in [0, 1].

    Returns:
        S', of the same shape.
    """
    known = effect.standard_error.isfinite()
    error = torch.where(known, effect.standard_error, 0.0)
    attended = attention.attend(torch.cat([effect.saliency, error]))
    mixed = beta * torch.cat([effect.saliency, error]) + (1 - beta) * attended
    saliency, error = mixed.chunk(2)
    return Effect(saliency, torch.where(known, error, torch.inf))


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
