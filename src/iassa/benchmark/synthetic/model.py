"""The black box of the synthetic scenes: it reads their tints, and knows nothing of masks.

In each block of 2 x 2 pixels it takes the tint, the mean of the pixels by the signs of the
chessboard. A block of which a share m is seen, and else one colour, has m times its tint: greys
have none, and any other colour is added twice and taken twice. So m is read off exactly

- where a grey hides, whatever the mask is: soft, or with an edge through the block;
- where another colour hides, or a blur or anything that is even over a block, if the mask is even
  over the block, or a slope. What is read in a block with an edge is wrong, but kept in [0, 1].

Noise has tints of its own, so it cannot hide anything from this black box.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.benchmark.synthetic.boxes import BOXES, DRAWN, PLACES, KnownBox
from iassa.benchmark.synthetic.scenes import BLOCK, Blocks, areas, tints
from iassa.errors import BlackBoxError, require
from iassa.image import to_planes
from iassa.models.black_box import BlackBox

EDITION = 1  # of boxes and scenes: runs of different editions do not compare
BORDER = 8  # the border is an eighth of the shorter side


@dataclass(frozen=True, eq=False)
class _Blocks:
    """What is read in each block: its label (N, h, w), and the share (N, h, w) that is seen."""

    labels: Tensor
    shares: Tensor


class SyntheticModel(BlackBox):
    """Ten black boxes in one, an output each, named as `BOXES`.

    It has a score for any image with sides of 2 pixels or more, and a sensible one for scenes.
    """

    name = "synthetic"
    class_names = tuple(BOXES)

    def identity(self) -> str:
        """Name and edition."""
        return f"{self.name} {EDITION}"

    def score(self, planes: Tensor) -> Tensor:
        """The scores (N, 10) of planes (N, 3, H, W)."""
        least = min(planes.shape[-2:]) >= BLOCK
        require(least, f"expected sides of {BLOCK} pixels or more.", BlackBoxError)
        seen = measure_regions(planes)
        return torch.stack([box.score(seen) for box in BOXES.values()], 1)


def measure_regions(planes: Tensor) -> Tensor:
    """The share that is seen of each region.

    Args:
        planes: (N, 3, H, W) in [0, 1].

    Returns:
        (N, R) float64 in [0, 1] for scenes, in the order of `REGIONS`.
    """
    blocks = _read(planes)
    size = (blocks.labels.shape[-2], blocks.labels.shape[-1])
    shares, labels = blocks.shares.flatten(1), blocks.labels.flatten(1)
    sums = shares.new_zeros(len(planes), 1 + len(DRAWN)).scatter_add_(1, labels, shares)
    drawn = sums[:, 1:] / torch.from_numpy(areas(size))
    places = shares @ _place_weights(size)
    return torch.cat([drawn, places], 1)


def read_regions(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where each region is in a whole scene.

    Args:
        image: (H, W, 3) float32 in [0, 1].

    Returns:
        (R, H, W) bool, in the order of `REGIONS`.
    """
    planes = to_planes(image, image.shape[:2])[None]
    labels: Blocks = _read(planes).labels[0].numpy()
    drawn = [labels == 1 + place for place in range(len(DRAWN))]
    places = [_place(each, labels.shape) for each in PLACES]
    return np.stack([*drawn, *places]).repeat(BLOCK, 1).repeat(BLOCK, 2)


def right_map(box: KnownBox, regions: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The right map of a box.

    Args:
        box: one of `BOXES`.
        regions: (R, H, W) of the scene; see `read_regions`.

    Returns:
        (H, W) float32, in score units by pixel: its sum is the score of the whole scene less that
        of one where all is hidden.
    """
    values = [box.right.get(name, 0.0) for name in (*DRAWN, *PLACES)]
    weights = np.array(values) / regions.sum((1, 2))
    return np.asarray(np.tensordot(weights, regions, 1), np.float32)


def _read(planes: Tensor) -> _Blocks:
    height, width = (side // BLOCK * BLOCK for side in planes.shape[-2:])
    upper, lower = planes[:, :, 0:height:BLOCK], planes[:, :, 1:height:BLOCK]
    added = upper[..., 0:width:BLOCK] + lower[..., 1:width:BLOCK]
    found = (added - upper[..., 1:width:BLOCK] - lower[..., 0:width:BLOCK]) / BLOCK**2
    codes = torch.from_numpy(tints()).float() / 255
    lengths = codes.norm(dim=1)
    along = torch.einsum("nchw,kc->nkhw", found, codes / lengths[:, None])
    most, labels = along.max(1)
    return _Blocks(labels, (most / lengths[labels]).double().clamp(0, 1))


def _place(name: str, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """(h, w) bool, the blocks of one of `PLACES`."""
    where = np.zeros(size, np.bool_)
    if name == "upper half":
        where[: size[0] // 2] = True
    else:
        thick = max(1, min(size) // BORDER)
        where[:] = True
        where[thick:-thick, thick:-thick] = False
    return where


@functools.lru_cache(maxsize=8)
def _place_weights(size: tuple[int, int]) -> Tensor:
    """(h w, 2) float64, means over the blocks of each of `PLACES`."""
    places = [_place(name, size).ravel() for name in PLACES]
    return torch.from_numpy(np.stack([each / max(1, each.sum()) for each in places], 1))
