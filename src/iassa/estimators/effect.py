"""A map with its standard error, what an estimator is, and the adjustment by attention.

An estimator is a running sum over any number of masks. It sums a batch in float32 and adds batches
up in float64: a thousand batches would drift otherwise. Its memory depends on the image and the
number of targets, not on the number of masks.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from iassa.estimators.attention import Attention
from iassa.estimators.jackknife import (
    interpolate,
    standard_error,
)
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Masks

HIGH = 0.3  # the paper's T, Eq. 8
# Sizes of scores. Maps are float32, from 1e-38 to 3e38, and so are the sums over a batch.
SMALLEST, LARGEST = 1e-33, 1e33


@dataclass(frozen=True, eq=False)
class Effect:
    """A map and how far it hangs on the masks that were drawn.

    Attributes:
        saliency: (T, H, W) float32, in score units.
        sampled: (H, W) bool, where masks have varied.
        deviations: (G, T, h, w) float64, what leaving out each of G groups of masks changes, at the
            pixels of a lattice; see `jackknife`. An error that does not come from the jackknife
            is stored as two deviations, +error and -error, at every pixel.
        settled: (h, w) bool, where every group could be left out.
        signed: True if 0 means no effect; False if the map is a mean score.
    """

    saliency: Tensor
    sampled: Tensor
    deviations: Tensor
    settled: Tensor
    signed: bool

    @classmethod
    def without_error(cls, saliency: Tensor) -> Self:
        """Maps (T, H, W) of a method that has no error: it is infinite everywhere."""
        nowhere = torch.zeros_like(saliency[0], dtype=torch.bool)
        deviations = saliency.new_zeros((0, len(saliency), 1, 1))
        return cls(saliency, nowhere, deviations, nowhere[:1, :1], signed=True)

    def lose_error(self, targets: Sequence[int]) -> Self:
        """The same maps, with an infinite error of some targets."""
        deviations = self.deviations.clone()
        deviations[:, list(targets)] = torch.inf
        return dataclasses.replace(self, deviations=deviations) if targets else self

    @functools.cached_property
    def standard_error(self) -> Tensor:
        """(T, H, W) float32, in score units; infinite where masks have not varied."""
        error = standard_error(self.deviations, self.settled)
        error = interpolate(error, (self.sampled.shape[0], self.sampled.shape[1]))
        # An error that float32 would round to 0 would call the map exact.
        least = torch.where(error > 0, torch.finfo(torch.float32).tiny, 0.0)
        error = error.maximum(least)
        return torch.where(self.sampled, error, torch.inf).float()

    @functools.cached_property
    def relative_errors(self) -> tuple[float, ...]:
        """Standard error where the map is high, as a share of its peak, for each target.

        It is the root mean square over the pixels above `HIGH` of the peak; infinite while one of
        them has no error, or while no mask has varied at some pixel, which may be as high. An
        adaptive method does not look at the other pixels again, so the error there does not fall.
        The peak of an effect is its largest value of either sign; that of a mean score is counted
        from the lowest.
        """
        shares = []
        for saliency, error in zip(self.saliency, self.standard_error, strict=True):
            height = (saliency.abs() if self.signed else saliency - saliency.min()).double()
            peak = height.max()
            high = (height >= HIGH * peak) | ~self.sampled
            share = error[high].double().square().mean().sqrt()
            # A flat map whose scores do not vary has no error.
            relative = float(share / peak) if share != 0 else 0.0
            known = bool(peak.isfinite()) and not math.isnan(relative)
            shares.append(relative if known else math.inf)
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


def is_lost(low: float, high: float) -> bool:
    """Whether scores from low to high vary, but are too small for a map to show it."""
    return low < high and max(abs(low), abs(high)) < SMALLEST


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
