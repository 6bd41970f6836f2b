"""The network that is adapted: the levels of the embedded EfficientNet-Lite0, and no more of it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from iassa.estimators.attention import fuse
from iassa.models.efficientnet_lite0 import INPUT_SIZE, LEVELS, load_network, normalise

STRIDE = 8  # of the positions that are clustered: 28 x 28 of an image as attention sees it
NAMES = tuple(f"level_{stride}" for stride in (4, 8, 16, 32))  # of the tensors of the file


def grid_of(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the positions of planes of a (height, width)."""
    return size[0] // STRIDE, size[1] // STRIDE


POSITIONS = grid_of(INPUT_SIZE)


class Levels(nn.Module):
    """Planes (N, 3, H, W) in [0, 1] to feature maps (N, C_l, h_l, w_l), fine to coarse."""

    def __init__(self) -> None:
        super().__init__()
        network = copy.deepcopy(load_network())
        last = [int(name.rpartition(".")[2]) for name in LEVELS]
        stem, norm = network.get_submodule("_conv_stem"), network.get_submodule("_bn0")
        blocks = [*network.get_submodule("_blocks").children()][: last[-1] + 1]
        self.stem = nn.Sequential(stem, norm, network.get_submodule("_swish"))
        self.blocks = nn.ModuleList(blocks)
        self._last = last
        self.eval()

    def forward(self, planes: Tensor) -> tuple[Tensor, ...]:
        """The maps of each level."""
        maps = self.stem(normalise(planes))
        found = []
        for place, block in enumerate(self.blocks):
            maps = block(maps)
            if place in self._last:
                found.append(maps)
        return tuple(found)


def describe_positions(levels: Levels, planes: Tensor) -> Tensor:
    """What attention compares, at every position.

    Args:
        levels: the network.
        planes: (N, 3, H, W) in [0, 1].

    Returns:
        (N, C, H / 8, W / 8), of length 1 at every position.
    """
    return fuse(levels(planes), grid_of((planes.shape[2], planes.shape[3])))


def describe_all(levels: Levels, planes: Tensor, batch: int = 8) -> Tensor:
    """The same of uint8 planes (N, 3, H, W) of any size, in rows: (N, positions, C)."""
    from iassa.image import resize

    device = next(levels.parameters()).device
    found = []
    with torch.inference_mode():
        for some in planes.split(batch):
            seen = resize(some.to(device).float() / 255, INPUT_SIZE)
            found.append(describe_positions(levels, seen).flatten(2).mT.cpu())
    return torch.cat(found).clone()
