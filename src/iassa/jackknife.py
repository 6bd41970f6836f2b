"""How sure a map is: the delete-a-group jackknife, from the same calls as the map.

The masks of a round are dealt in turn to `GROUPS` groups. What an estimator would say without one
group, for each of them, shows how far its map hangs on the masks that happened to be drawn:

    SE^2 = (G - 1) / G sum_g (S_(g) - S)^2        (Tukey; Kott, J. Official Statistics, 2001)

It needs no model of the noise, and it goes through everything that is done to a map as the map
itself does: a weighted sum of maps, the attention. The deviations S_(g) - S are kept on a lattice
of pixels; between them they are interpolated, as masks are too coarse to change from one to the
next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from iassa.image import resize

__all__ = [
    "GROUPS",
    "GroupedProducts",
    "Lattice",
    "interpolate",
    "mean_without_groups",
    "standard_error",
]

GROUPS = 32  # the standard error itself errs by 1 / sqrt(2 (GROUPS - 1)), 13 %
SIDE = 28  # of the lattice
FOLD = 512  # masks summed at a time, a multiple of GROUPS


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
    """Sums over the masks i of each group g of a_i b_i^T, (GROUPS, A, B).

    A mask's group is its place in the order of adding, so it depends neither on the batch size nor
    on when the sums are asked for. Memory does not depend on the number of masks.
    """

    def __init__(self, shape: tuple[int, int], like: Tensor) -> None:
        """Start empty sums.

        Args:
            shape: (A, B).
            like: of the type and on the device of the sums.
        """
        self._sums = like.new_zeros((GROUPS, *shape))
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
        """(GROUPS, A, B)."""
        self._fold()
        return self._sums

    def _fold(self) -> None:
        if not self._waiting:
            return
        first = self._next_group
        left, right = (_deal(torch.cat(rows), first) for rows in (self._left, self._right))
        self._sums.baddbmm_(left.to(self._sums).mT, right.to(self._sums))
        self._next_group = (first + self._waiting) % GROUPS
        self._left, self._right, self._waiting = [], [], 0


def _deal(rows: Tensor, first: int) -> Tensor:
    """(N, A), the first of group `first`, to (GROUPS, N / GROUPS, A), filled up with zeros."""
    missing = -(first + len(rows)) % GROUPS
    padded = torch.nn.functional.pad(rows, (0, 0, first, missing))
    return padded.view(-1, GROUPS, rows.shape[1]).transpose(0, 1)


def mean_without_groups(groups: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """What leaving out each group changes in a weighted mean.

    Args:
        groups: (G, T + 1, h w), sums over each group that has masks of f times a weight, for T
            scores f, and last of the weight.
        size: (h, w).

    Returns:
        Deviations (G, T, h, w), 0 where not settled; and (h, w) bool, where every group could be
        left out.
    """
    together = groups.sum(0)
    without = together - groups
    settled = (without[:, -1] > 0).all(0)
    deviations = without[:, :-1] / without[:, -1:] - together[:-1] / together[-1:]
    deviations = torch.where(settled, deviations, 0.0)
    return deviations.reshape(*deviations.shape[:2], *size), settled.view(size)


def standard_error(deviations: Tensor, known: Tensor) -> Tensor:
    """Standard error from what leaving a group out changes.

    Args:
        deviations: (G, T, h, w) of the groups that have masks.
        known: (h, w) bool, where all of them are known.

    Returns:
        (T, h, w); infinite where it is not known, and everywhere with fewer than two groups.
    """
    groups = len(deviations)
    if groups < 2:
        return torch.full_like(deviations.sum(0), torch.inf)
    error = ((groups - 1) / groups * deviations.square().sum(0)).sqrt()
    return torch.where(known, error, torch.inf)


def interpolate(error: Tensor, size: tuple[int, int]) -> Tensor:
    """A standard error on the lattice (T, h, w) at the size of the map, from where it is known."""
    known = error.isfinite()
    weight = resize(known.to(error), size)
    spread = resize(torch.where(known, error, 0.0), size)
    return torch.where(weight > 0, spread / weight, torch.inf)
