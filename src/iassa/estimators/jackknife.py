"""How sure a map is: the delete-a-group jackknife, from the same calls as the map.

The masks of a round are dealt in turn to `GROUPS` groups. What an estimator would say without one
group, for each of them, shows how far its map hangs on the masks that happened to be drawn:

    SE^2 = (G - 1) / G sum_g (S_(g) - S)^2        (Tukey; Kott, J. Official Statistics, 2001)

It needs no model of the noise. The deviations go through all that is done to the map: a weighted
sum of maps, the attention. The deviations S_(g) - S are kept on a lattice
of pixels; between them they are interpolated, as masks are too coarse to change from one to the
next.

Windows are drawn without replacement from as many as a lattice has: once n of
N are drawn, chance decides on the share 1 - n / N only, and the deviations are multiplied by
sqrt(1 - n / N). With all of them the error is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from iassa.image import resize

GROUPS = 32  # the standard error itself errs by 1 / sqrt(2 (GROUPS - 1)), 13 %
SIDE = 28  # of the lattice
FOLD = 512  # masks summed at a time, a multiple of GROUPS
MASKS_BEFORE = 8


@dataclass(frozen=True, eq=False)
class Lattice:
    """Pixels spread evenly over the image: at most `SIDE` rows and columns of them.

    Attributes:
        rows: (h,) their rows.
        columns: (w,) their columns.
    """

    rows: Tensor
    columns: Tensor

    @classmethod
    def over(cls, size: tuple[int, int], device: torch.device) -> Self:
        """The lattice of an image (height, width): the pixels at the centres of equal parts."""
        axes = []
        for length in size:
            parts = min(SIDE, length)
            centres = (torch.arange(parts, device=device) + 0.5) * length / parts
            axes.append(centres.long())
        return cls(*axes)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return (len(self.rows), len(self.columns))

    def of(self, planes: Tensor) -> Tensor:
        """The values of planes (..., H, W) there, (..., h, w)."""
        return planes.index_select(-2, self.rows).index_select(-1, self.columns)


class GroupedProducts:
    """Sums over the masks i of each of G groups g of a_i b_i^T, (G, A, B).

    A mask's group is its place in the order of adding, so it depends neither on the batch size nor
    on when the sums are asked for. Memory does not depend on the number of masks.
    """

    def __init__(self, shape: tuple[int, int], like: Tensor, groups: int = GROUPS) -> None:
        """Start empty sums.

        Args:
            shape: (A, B).
            like: of the type and on the device of the sums.
            groups: G, a divisor of `FOLD`.
        """
        self._sums = like.new_zeros((groups, *shape))
        self._left: list[Tensor] = []
        self._right: list[Tensor] = []
        self._waiting = 0
        self._next_group = 0  # of the first that waits

    def add(self, left: Tensor, right: Tensor) -> None:
        """Add masks: a (N, A) and b (N, B), which must stay as they are afterwards."""
        while len(left):
            taken = min(len(left), FOLD - self._waiting)
            self._left.append(left[:taken])
            self._right.append(right[:taken])
            self._waiting += taken
            if self._waiting == FOLD:
                self._fold()
            left, right = left[taken:], right[taken:]

    def sums(self) -> Tensor:
        """(G, A, B)."""
        self._fold()
        return self._sums

    def _fold(self) -> None:
        if not self._waiting:
            return
        first, groups = self._next_group, len(self._sums)
        left, right = (_deal(torch.cat(rows), first, groups) for rows in (self._left, self._right))
        self._sums.baddbmm_(left.to(self._sums).mT, right.to(self._sums))
        self._next_group = (first + self._waiting) % groups
        self._left, self._right, self._waiting = [], [], 0


def _deal(rows: Tensor, first: int, groups: int) -> Tensor:
    """(N, A), the first of group `first`, to (G, N / G, A), filled up with zeros."""
    missing = -(first + len(rows)) % groups
    padded = torch.nn.functional.pad(rows, (0, 0, first, missing))
    return padded.view(-1, groups, rows.shape[1]).transpose(0, 1)


class GroupedRounds:
    """Sums over the masks i of all rounds of a_i b_i^T, (A, B), and the same without each group.

    The last of each a is 1, so that the last of the sums are weights.

    Masks that are drawn each by itself are one sample, whatever their rounds. Those of a round that
    is drawn without replacement are a sample of their own: when a group is left out the others of
    the round take over its weight, and what that changes is multiplied by sqrt(1 - n / N). A round
    of which all N are there is what it is, whatever group is left out. One that has hardly begun
    does not show how much its masks vary, so the variance of the round before has a say in it, with
    the weight of `MASKS_BEFORE` masks (as in Smyth, Stat. Appl. Genet. Mol. Biol., 2004).
    """

    def __init__(self, shape: tuple[int, int], like: Tensor, groups: int = GROUPS) -> None:
        """Start empty sums; see `GroupedProducts`."""
        self._shape = shape
        self._groups = groups
        self._closed = like.new_zeros((groups, *shape))  # sums over the groups of closed rounds
        self._changes = like.new_zeros((groups, *shape))  # of their total, without each group
        self._whole = True  # whether closed rounds have all masks of their populations
        self._open = GroupedProducts(shape, like, groups)
        self._count = 0  # masks in it
        self._population: int | None = None
        # What leaving out groups did to the last round with a mask in each, and its masks.
        self._before: tuple[Tensor, int] | None = None

    def add(self, left: Tensor, right: Tensor, population: int | None) -> None:
        """Add masks to the open round; see `GroupedProducts.add`.

        Args:
            left: (n, A), the last 1.
            right: (n, B), not negative.
            population: of the round, see `MaskPlan.population`: always None, or never.
        """
        self._open.add(left, right)
        self._count += len(left)
        self._population = population

    def close_round(self) -> None:
        """End the round, if the next one is another sample."""
        if self._population is None or not self._count:
            return
        sums = self._open.sums()
        self._closed = self._closed + sums
        self._whole &= self._count == self._population
        self._changes = self._changes + self._change(sums, self._population)
        if self._count >= self._groups:
            self._before = (self._reweigh(sums), self._count)
        self._open = GroupedProducts(self._shape, sums, self._groups)
        self._count = 0

    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """With all masks, and without each group.

        Returns:
            (A, B); (G, A, B) without each of those that have masks; and (B,) bool, where every
            group could be left out, or need not be, as nothing is left to sample.
        """
        groups = self._closed + self._open.sums()
        together = groups.sum(0)
        settled = ((together - groups)[:, -1] > 0).all(0)
        if self._population is None:
            return together, (together - groups)[: self._count], settled
        changes = self._changes
        if self._count:
            changes = changes + self._change(self._open.sums(), self._population)
        if self._whole and self._count in (0, self._population):
            settled = together[-1] > 0
        return together, together + changes, settled

    def _change(self, sums: Tensor, population: int) -> Tensor:
        """What leaving out each group of the open round does to its sums, (G, A, B).

        `standard_error` takes it for G groups, whether all of them have masks or not.
        """
        count = self._count
        filled = min(count, self._groups)
        # With a single mask the effect of leaving it out is unknown: take the full weight as an
        # upper bound.
        share = (1 - 1 / filled if filled > 1 else 1.0) / (1 - 1 / self._groups)
        change = self._reweigh(sums) * math.sqrt(share)
        if self._before is not None:
            # Variances are added, the groups of two rounds having nothing to do with each other.
            before, masks = self._before
            trust = (count - 1) / (count - 1 + MASKS_BEFORE)
            change = math.sqrt(trust) * change + math.sqrt((1 - trust) * count / masks) * before
        return change * math.sqrt(1 - count / population)

    def _reweigh(self, sums: Tensor) -> Tensor:
        """The open round's sums without each group, the others in its place, less those of all."""
        count = self._count
        sizes = [len(range(group, count, self._groups)) for group in range(self._groups)]
        weights = [count / (count - size) if size < count else 0.0 for size in sizes]
        total = sums.sum(0)
        return sums.new_tensor(weights)[:, None, None] * (total - sums) - total


def mean_without_groups(
    together: Tensor, without: Tensor, settled: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """What leaving out each group changes in a weighted mean.

    Args:
        together: (T + 1, h w), sums over all masks of f times a weight, for T scores f, and last of
            the weight; see `GroupedRounds.sums`.
        without: (G, T + 1, h w).
        settled: (h w,) bool.
        size: (h, w).

    Returns:
        Deviations (G, T, h, w), 0 where not settled; and (h, w) bool, where settled.
    """
    deviations = without[:, :-1] / without[:, -1:] - together[:-1] / together[-1:]
    deviations = torch.where(settled, deviations, 0.0)
    return deviations.reshape(*deviations.shape[:2], *size), settled.view(size)


def standard_error(deviations: Tensor, known: Tensor) -> Tensor:
    """Standard error from what leaving a group out changes.

    Args:
        deviations: (G, T, h, w) of the groups that have masks.
        known: (h, w) bool, where all of them are defined.

    Returns:
        (T, h, w); infinite where they are not, and everywhere with fewer than two groups.
    """
    groups = len(deviations)
    if groups < 2:
        return torch.full_like(deviations.sum(0), torch.inf)
    error = ((groups - 1) / groups * deviations.square().sum(0)).sqrt()
    return torch.where(known, error, torch.inf)


def deviate(error: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations of two groups, one up and one down, from a standard error of another origin.

    Args:
        error: (T, h, w), infinite at the same pixels for all targets where there is none.

    Returns:
        Deviations (2, T, h, w), 0 where there is none, and where there is one, (h, w) bool.
    """
    known = error.isfinite().all(0)
    error = torch.where(known, error, 0.0)
    return torch.stack([error, -error]), known


def interpolate(error: Tensor, size: tuple[int, int]) -> Tensor:
    """A standard error on the lattice (T, h, w) at the size of the map, from its finite values."""
    known = error.isfinite()
    weight = resize(known.to(error), size)
    spread = resize(torch.where(known, error, 0.0), size)
    return torch.where(weight > 0, spread / weight, torch.inf)
