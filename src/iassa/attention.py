"""LRPF-SA: long-range, parameter-free spatial attention (Eq. 9-10), without its P x P matrix.

A = softmax(Phi' Phi'^T) has P^2 entries, 157 million at 112 x 112 positions: 630 MB. All that is
asked of it is A S, which is attention with the features as queries and keys and the map as value, so
a block of rows at a time is enough and the memory is that of one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iassa.image import resize

__all__ = ["Attention", "spatial_attention"]

BLOCK_BYTES = 16 * 2**20  # of one block of rows of A


@dataclass(frozen=True, eq=False)
class Attention:
    """A, held as the features it is made of.

    Attributes:
        features: (P, C) float32, Phi' of Eq. 10 in row order of the positions.
        size: (height, width) of the positions, P = height * width.
        scale: what the products are multiplied by before the softmax: 1 / temperature.
    """

    features: Tensor
    size: tuple[int, int]
    scale: float

    def attend(self, maps: Tensor) -> Tensor:
        """A S for each map S.

        Args:
            maps: (T, H, W) float, of any size: averaged to the positions and interpolated back.

        Returns:
            (T, H, W) float32. Rows of A sum to 1, so a constant map stays what it is.
        """
        values = resize(maps, self.size).flatten(1).T  # (P, T)
        columns = torch.cat([values, torch.ones_like(values[:, :1])], dim=1)
        attended = torch.empty_like(values)
        rows = max(1, BLOCK_BYTES // (4 * len(self.features)))
        block = torch.empty((rows, len(self.features)), device=values.device)
        queries = self.features * self.scale
        for start in range(0, len(queries), rows):
            stop = min(start + rows, len(queries))
            logits = torch.mm(queries[start:stop], self.features.T, out=block[: stop - start])
            logits -= logits.amax(dim=1, keepdim=True)  # softmax does not change; exp stays finite
            sums = logits.exp_() @ columns
            attended[start:stop] = sums[:, :-1] / sums[:, -1:]  # Eq. 10
        return resize(attended.T.reshape(-1, *self.size), tuple(maps.shape[-2:]))


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
    fused = []
    for level in levels:
        upsampled = resize(_shorten(level.float()), size)
        if normalise:
            upsampled = torch.nn.functional.normalize(upsampled, dim=0) / len(levels) ** 0.5
        fused.append(upsampled)
    features = torch.cat(fused).flatten(1).T.contiguous()  # Phi' of Eq. 9, (P, C)
    return Attention(features, size, 1.0 / temperature)


def _shorten(level: Tensor) -> Tensor:
    """The same level with no more channels than positions, all inner products unchanged.

    F (positions x channels) = R^T Q^T with orthonormal Q, so F F^T = R^T R; interpolation is linear
    and keeps that. A stride-32 level of 320 channels and 7 x 7 positions needs 49.
    """
    channels, height, width = level.shape
    if channels <= height * width:
        return level
    triangle = torch.linalg.qr(level.flatten(1), mode="r").R
    return triangle.reshape(-1, height, width)
