"""LRPF-SA: long-range, parameter-free spatial attention (Eq. 9-10), without its P x P matrix.

A = softmax(Phi' Phi'^T) has P^2 entries, 157 million at 112 x 112 positions: 630 MB. All that is
asked of it is A S, which is attention with the features as queries and keys and the map as value,
so a block at a time is enough, and the memory is that of one block.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from iassa.image import resize

KEPT = 0.995  # share of the features' squares
BLOCK = 448  # edge of a block of A; its 0.8 MB stay in a core's cache
MOST_KEPT = 3136  # positions whose blocks are kept, 56 x 56: 20 MB


@dataclass(frozen=True, eq=False)
class Attention:
    """A, held as the features it is made of.

    Attributes:
        features: (P, C) float32, Phi' of Eq. 10 in row order of the positions.
        size: (height, width) of the positions, P = height * width.
        scale: what the products are multiplied by before the softmax: 1 / temperature.
        bounded: whether the features have length 1, so that no product exceeds 1.
    """

    features: Tensor
    size: tuple[int, int]
    scale: float
    bounded: bool

    @property
    def planes(self) -> Tensor:
        """The features as (C, height, width)."""
        return self.features.T.reshape(-1, *self.size)

    def attend(self, maps: Tensor) -> Tensor:
        """A S for each map S.

        Args:
            maps: (T, H, W) float, of any size: averaged to the positions and interpolated back.

        Returns:
            (T, H, W) float32. Rows of A sum to 1, so a constant map stays what it is.
        """
        values = resize(maps.float(), self.size).flatten(1).T  # (P, T)
        attended = self._attend_bounded(values) if self.bounded else self._attend_unbounded(values)
        height, width = maps.shape[-2:]
        return resize(attended.T.reshape(-1, *self.size), (height, width))

    def coarsen(self, size: tuple[int, int]) -> Self:
        """The same attention over positions no finer than (height, width), features averaged."""
        size = (min(size[0], self.size[0]), min(size[1], self.size[1]))
        if size == self.size:
            return self
        if size not in self._coarser:
            planes = resize(self.planes, size)
            features = planes.flatten(1).T
            if self.bounded:
                features = torch.nn.functional.normalize(features, dim=1)
            coarser = dataclasses.replace(self, features=features.contiguous(), size=size)
            self._coarser[size] = coarser
        return self._coarser[size]

    @functools.cached_property
    def _coarser(self) -> dict[tuple[int, int], Self]:
        """By size, for the errors of a map after every round; each keeps its own blocks."""
        return {}

    def _attend_bounded(self, values: Tensor) -> Tensor:
        """A times values (P, T), by E = exp(scale (Phi' Phi'^T - 1)): A is E with rows of sum 1.

        No product exceeds 1, so one shift serves all rows, and E is symmetric: each block of it
        above the diagonal serves twice.
        """
        columns = torch.cat([values, torch.ones_like(values[:, :1])], dim=1)
        sums = torch.zeros_like(columns)
        few = len(self.features) <= MOST_KEPT
        for rows, across, weights in self._kept if few else self._blocks():
            sums[rows] += weights @ columns[across]
            if across != rows:
                sums[across] += weights.T @ columns[rows]
        return sums[:, :-1] / sums[:, -1:]  # Eq. 10

    @functools.cached_property
    def _kept(self) -> list[tuple[slice, slice, Tensor]]:
        """All blocks, for a map after every round: they take more time to make than to use."""
        return [(rows, across, block.clone()) for rows, across, block in self._blocks()]

    def _blocks(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """E on and above its diagonal: rows, columns and a block, which is valid until the next."""
        positions = len(self.features)
        block = self.features.new_empty((BLOCK, BLOCK))
        queries = self.features * self.scale
        for i in range(0, positions, BLOCK):
            rows = slice(i, min(i + BLOCK, positions))
            for j in range(i, positions, BLOCK):
                across = slice(j, min(j + BLOCK, positions))
                size = (rows.stop - i, across.stop - j)
                products = block.view(-1)[: size[0] * size[1]].view(size)
                torch.mm(queries[rows], self.features[across].T, out=products)
                yield rows, across, products.sub_(self.scale).exp_()

    def _attend_unbounded(self, values: Tensor) -> Tensor:
        """A times values (P, T) for products of any size, by torch's own attention (Eq. 10).

        It works in blocks only where keys and values are of one width: both are filled up with
        columns of zeros, which change no product.
        """
        width = max(values.shape[1], self.features.shape[1])
        features, filled = (
            pad(one, (0, width - one.shape[1]))[None, None] for one in (self.features, values)
        )
        attended = scaled_dot_product_attention(features, features, filled, scale=self.scale)
        return attended[0, 0, :, : values.shape[1]]


def spatial_attention(
    levels: Sequence[Tensor],
    size: tuple[int, int],
    *,
    temperature: float = 0.1,
    normalise: bool = True,
) -> Attention:
    """Fuse features of several levels into an attention over positions (Eq. 9).

    Args:
        levels: feature maps (C_l, h_l, w_l) of one image, fine to coarse.
        size: (height, width) of the positions that all levels are interpolated to.
        temperature: of the softmax; small attends to few positions.
        normalise: scale the features of each level to length 1 at every position, so that the
            product of two positions is the mean over levels of their cosines. False takes the raw
            products, as the paper prints them.

    Returns:
        The attention, P x C numbers.
    """
    planes = fuse([_shorten(level.float()) for level in levels], size, normalise=normalise)
    features = planes.flatten(1).T.contiguous()  # Phi' of Eq. 9, (P, C)
    # Where a network is silent a feature has no direction, and stays shorter than the others.
    bounded = normalise and bool((features.norm(dim=1) > 0.99).all())
    if bounded:
        features = torch.nn.functional.normalize(_project(features), dim=1)
    return Attention(features, size, 1.0 / temperature, bounded=bounded)


def fuse(levels: Sequence[Tensor], size: tuple[int, int], *, normalise: bool = True) -> Tensor:
    """Features of several levels at the same positions (Eq. 9).

    Args:
        levels: feature maps (..., C_l, h_l, w_l), fine to coarse.
        size: (height, width) of the positions that all levels are interpolated to.
        normalise: see `spatial_attention`.

    Returns:
        (..., C, height, width), C the sum of all C_l; of length 1 at every position if normalised.
    """
    fused = [resize(level, size) for level in levels]
    if normalise:
        scale = len(levels) ** -0.5
        fused = [torch.nn.functional.normalize(level, dim=-3) * scale for level in fused]
    return torch.cat(fused, dim=-3)


def _project(features: Tensor) -> Tensor:
    """Features (P, C) in the fewest principal directions that keep `KEPT` of their squares.

    Of the default network's 225 dimensions about 130 are left. On average over positions products
    change by less than the share left out, those of a position whose features are rare by more.
    """
    values, vectors = torch.linalg.eigh((features.T @ features).double())  # ascending
    left_out = int((values.cumsum(0) <= (1 - KEPT) * values.sum()).sum())
    directions: Tensor = vectors[:, left_out:].to(features)
    return features @ directions


def _shorten(level: Tensor) -> Tensor:
    """The same level with no more channels than positions, all inner products unchanged.

    F (positions x channels) = R^T Q^T with orthonormal Q, so F F^T = R^T R; interpolation is linear
    and keeps that. A stride-32 level of 320 channels and 7 x 7 positions needs 49.
    """
    channels, height, width = level.shape
    if channels <= height * width:
        return level
    triangle: Tensor = torch.linalg.qr(level.flatten(1), mode="r").R
    return triangle.reshape(-1, height, width)
